//! Runs a rank beyond the number of workers: it takes part in MPI's start and end, and uses no CPU between.
//!
//! It cannot just leave: if one rank never calls `MPI_Init`, the others wait in theirs for ever.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use defusion_config::protocol::{COLOR_SURPLUS, EXIT_DONE, EXIT_FAILED};
use mpi::collective::CommunicatorCollectives;
use mpi::topology::{Color, Communicator};
use nix::unistd::getppid;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1, SIGUSR2};

use crate::error::LaunchError;

/// Time between looks at the barrier.
const NAP: Duration = Duration::from_millis(100);

/// Waits until all workers have met in the world's last barrier.
///
/// Requests to stop are the workers' to answer: they write a checkpoint first, and need this rank in their last barrier.
/// Should mpirun end the whole job, it ends this rank with SIGKILL.
///
/// # Errors
/// [`LaunchError::Usage`] if MPI cannot be initialised, or signals cannot be handled.
pub fn wait() -> Result<i32, LaunchError> {
    for signal in [SIGTERM, SIGINT, SIGUSR1, SIGUSR2] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))
            .map_err(|e| LaunchError::usage(format!("cannot handle signals: {e}")))?;
    }
    let parent = getppid();
    let universe = mpi::initialize().ok_or_else(|| LaunchError::usage("MPI is initialised already"))?;
    let world = universe.world();
    // Held until the end; the surplus ranks have nothing to tell each other.
    let _surplus = world.split_by_color(Color::with_value(COLOR_SURPLUS));
    let mut barrier = world.immediate_barrier();
    loop {
        match barrier.test() {
            Ok(_) => return Ok(EXIT_DONE),
            Err(pending) => barrier = pending,
        }
        if getppid() != parent {
            // Without mpirun nobody will come any more; MPI_Finalize would wait for them.
            std::process::exit(EXIT_FAILED);
        }
        std::thread::sleep(NAP);
    }
}
