//! Where the workers run.

use serde::{Deserialize, Serialize};

/// The kind of device a worker computes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// One CUDA GPU per worker; gradients go through NCCL.
    Cuda,
    /// A share of the host's cores per worker; gradients go through MPI.
    Cpu,
}

/// One host of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Name or address that `mpirun --host` understands.
    pub name: String,
}

/// Topology, time limits and restarts. Nothing here changes what is computed, so nothing here is part of the
/// [config digest](crate::Resolved::digest): a run may be resumed on another cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// Hosts, when `defusion-launch` starts mpirun by itself. Empty: this host, or those of the surrounding MPI job.
    pub hosts: Vec<Host>,
    /// Number of nodes. With `hosts` given it must equal their number.
    pub nodes: u32,
    /// Worker processes on each node: the number of its GPUs, or of CPU slots.
    pub workers_per_node: u32,
    /// What a worker computes on.
    pub device: Device,
    /// Intra-op threads of a worker; 0: the node's cores divided by `workers_per_node`.
    pub threads_per_worker: u32,
    /// Memory of one GPU in GiB, for the plan's estimate.
    pub device_memory_gib: f64,
    /// Seconds without a finished step after which the run is ended as hung.
    pub hang_timeout_s: u64,
    /// The same until the first step has ended (compilation, cold caches, first fetches).
    pub first_step_timeout_s: u64,
    /// Restarts after a failure before giving up. A restart resumes from the newest valid checkpoint.
    pub max_restarts: u32,
    /// Seconds before the first restart; doubled at each further one, to ten minutes at most.
    pub restart_backoff_s: f64,
    /// Seconds between SIGTERM and SIGKILL when the run is asked to stop.
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
    /// Workers over all nodes: the world size.
    pub fn world_size(&self) -> u32 {
        self.nodes * self.workers_per_node
    }
}
