//! Where the workers run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kind of device a worker computes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// One CUDA GPU per worker; gradients go through NCCL.
    Cuda,
    /// A share of the host's cores per worker; gradients go through MPI.
    Cpu,
}

/// One host of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Name or address that `mpirun --host` understands: letters, digits, `.`, `_` and `-`.
    pub name: String,
}

/// Thirty days.
const LONGEST_S: u64 = 30 * 24 * 3600;

/// Where the workers run, time limits and restarts. Nothing here changes what is computed, so a run may be resumed on another cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// Hosts, if `defusion-launch` is to start mpirun by itself; each may be named once. Empty: this host, or those of the
    /// surrounding MPI or Slurm job.
    pub hosts: Vec<Host>,
    /// Number of nodes. If `hosts` is given, it must equal their number.
    #[schemars(range(min = 1, max = 65_536))]
    pub nodes: u32,
    /// Worker processes on each node: the number of its GPUs, or of CPU slots.
    #[schemars(range(min = 1, max = 1024))]
    pub workers_per_node: u32,
    /// What a worker computes on.
    pub device: Device,
    /// Threads that a worker computes with; 0: the node's cores divided by `workers_per_node`.
    #[schemars(range(max = 4096))]
    pub threads_per_worker: u32,
    /// Memory of one GPU, GiB. The launcher compares its estimate with it before anything starts.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub device_memory_gib: f64,
    /// Time without a finished step after which the run is ended as hung, seconds. A collective fails after half of it.
    #[schemars(range(min = 1, max = LONGEST_S))]
    pub hang_timeout_s: u64,
    /// The same until the first step of a stage has ended (compilation, cold caches, first fetches), seconds. At least
    /// `hang_timeout_s`.
    #[schemars(range(min = 1, max = LONGEST_S))]
    pub first_step_timeout_s: u64,
    /// Restarts in a row that bring no further checkpoint before the launcher gives up. A restart resumes from the newest
    /// valid checkpoint.
    pub max_restarts: u32,
    /// Pause before the first restart, seconds; doubled at each further one, to ten minutes at most.
    #[schemars(range(min = 0))]
    pub restart_backoff_s: f64,
    /// Time between SIGTERM and SIGKILL when the run is asked to stop, seconds.
    #[schemars(range(min = 1, max = LONGEST_S))]
    pub stop_grace_s: u64,
    /// Further arguments for mpirun, before the program's name.
    pub mpirun_args: Vec<String>,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            nodes: 1,
            workers_per_node: 8,
            device: Device::Cuda,
            threads_per_worker: 0,
            device_memory_gib: 80.0,
            hang_timeout_s: 600,
            first_step_timeout_s: 1800,
            max_restarts: 10,
            restart_backoff_s: 5.0,
            stop_grace_s: 120,
            mpirun_args: Vec::new(),
        }
    }
}

impl Cluster {
    /// Returns the number of workers over all nodes: the world size.
    pub fn world_size(&self) -> u32 {
        self.nodes * self.workers_per_node
    }
}
