//! What the launcher and its workers agree on: environment, heartbeat, exit codes.

use serde::{Deserialize, Serialize};

use crate::Stage;

/// Environment of a worker: its device, `cpu` or `cuda:N`.
pub const ENV_DEVICE: &str = "DEFUSION_DEVICE";
/// Environment of a worker: number of the inherited pipe that [`Heartbeat`] lines are written to.
pub const ENV_HEARTBEAT_FD: &str = "DEFUSION_HEARTBEAT_FD";
/// Environment of a worker: its number among the workers of its host, from 0.
pub const ENV_LOCAL_RANK: &str = "DEFUSION_LOCAL_RANK";
/// Environment of a worker: its share of the node's cores, a number of threads.
pub const ENV_THREADS: &str = "DEFUSION_THREADS";
/// Environment of rank 0's worker: the terminal that the run is watched on, such as `/dev/pts/3`, if there is one. Under
/// `mpirun` it cannot see that by itself: its standard error is a pipe and its standard output a pseudo-terminal, always.
/// On the way from the launcher through mpirun: `host:/dev/pts/3`.
pub const ENV_TERMINAL: &str = "DEFUSION_TERMINAL";

/// Colour of the ranks that train, in `MPI_Comm_split` of the world. Every rank splits right after `MPI_Init` and
/// meets in one `MPI_Ibarrier` of the world right before `MPI_Finalize`; surplus ranks do nothing between.
pub const COLOR_WORKER: i32 = 1;
/// Colour of the surplus ranks.
pub const COLOR_SURPLUS: i32 = 2;

/// The run is finished, or was asked to stop and has left a checkpoint.
pub const EXIT_DONE: i32 = 0;
/// Something failed that a restart may mend.
pub const EXIT_FAILED: i32 = 1;
/// The command line, the config or the data cannot work: a restart would fail alike.
pub const EXIT_USAGE: i32 = 2;
/// A rank or a collective hung.
pub const EXIT_HUNG: i32 = 3;
/// Loss or gradients stayed non-finite: a restart would fail alike.
pub const EXIT_DIVERGED: i32 = 4;

/// One line of JSON that a worker writes at start, after every step, and at every change of phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// What the worker is doing, for messages: `starting`, `tokenizer`, `diffusion`, `validating`, `checkpoint`, `done`.
    pub phase: String,
    /// Number of steps finished within the phase's stage.
    pub step: u64,
    /// A checkpoint that has become safe since the line before, or that the run resumes from. The launcher counts restarts
    /// between these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<SafeCheckpoint>,
}

/// A checkpoint that is whole and verified in the run folder, so that a restart goes on from there. The later one is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SafeCheckpoint {
    /// The stage it is of.
    pub stage: Stage,
    /// Number of the stage's steps that it holds.
    pub step: u64,
}
