//! The workers of a job as each of them sees it: its device, and how it talks to the others.

use std::sync::Arc;
use std::time::Duration;

use defusion_config::{Cluster, Stage};
use tch::Device;

use crate::parallel::{Collective, MpiCollective, NcclCollective, ParallelError, Platform, SoloCollective};
use crate::torch;

/// This worker's device and its way to the others. Clones are handles of the same.
#[derive(Clone)]
pub struct Workers {
    device: Device,
    collective: Arc<dyn Collective>,
    limits: Limits,
}

/// How long a collective may take. Half of the launcher's limits on silence: a rank that waits for others then says for
/// whom and in what, before the launcher ends it as hung.
#[derive(Clone, Copy)]
struct Limits {
    usual: Duration,
    first_step: Duration,
}

impl Workers {
    /// Joins the MPI job that this process was started in. CUDA tensors then go through NCCL, all else through MPI.
    ///
    /// # Errors
    /// Where MPI or NCCL cannot start, or the job's size is not the config's world size.
    pub fn join(device: Device, cluster: &Cluster) -> Result<Self, ParallelError> {
        let limits = Limits {
            usual: Duration::from_secs(cluster.hang_timeout_s) / 2,
            first_step: Duration::from_secs(cluster.first_step_timeout_s) / 2,
        };
        let patience = Some(limits.first_step);
        let collective: Arc<dyn Collective> = match device {
            Device::Cuda(ordinal) => {
                // Else what names no device, such as pinned memory, would make a context on the first GPU.
                torch::set_cuda_device(ordinal)?;
                Arc::new(NcclCollective::start(Platform::cuda(ordinal), patience)?)
            }
            _ => Arc::new(MpiCollective::start(patience)?),
        };
        let (ranks, wanted) = (collective.size(), cluster.world_size());
        if ranks != wanted as usize {
            return Err(ParallelError::Start(format!(
                "{ranks} workers came, but cluster.nodes x cluster.workers_per_node is {wanted}"
            )));
        }
        let record = collective.flight_record();
        record.dump_on_sigusr1().map_err(|e| ParallelError::Start(format!("SIGUSR1 cannot be handled: {e}")))?;
        Ok(Self { device, collective, limits })
    }

    /// A world of this process alone, without MPI.
    pub fn alone(device: Device) -> Self {
        let limits = Limits { usual: Duration::MAX, first_step: Duration::MAX };
        Self { device, collective: Arc::new(SoloCollective::new()), limits }
    }

    /// Says that `done` steps of `stage` are finished, for errors and the flight record. `first`: the next one is the
    /// first of the stage in this process, and may take longer.
    pub fn enter(&self, stage: Stage, done: u64, first: bool) {
        self.collective.flight_record().enter(&format!("{stage}, after {done} steps"));
        self.collective.set_patience(Some(if first { self.limits.first_step } else { self.limits.usual }));
    }

    /// What this worker computes on.
    pub fn device(&self) -> Device {
        self.device
    }

    /// This worker's number, from 0.
    pub fn rank(&self) -> usize {
        self.collective.rank()
    }

    /// Number of workers.
    pub fn size(&self) -> usize {
        self.collective.size()
    }

    /// The way to the others.
    pub fn collective(&self) -> &Arc<dyn Collective> {
        &self.collective
    }

    /// Leaves the job in order, after everything else that talks is over.
    ///
    /// # Errors
    /// Where the others did not come to the end.
    pub fn leave(self) -> Result<(), ParallelError> {
        self.collective.finish()
    }
}
