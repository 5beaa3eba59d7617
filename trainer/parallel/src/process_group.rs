//! The processes of a job as each of them sees it: its device, and how it talks to the others.

use std::sync::Arc;
use std::time::Duration;

use defusion_config::{Cluster, Stage};
use tch::Device;

use crate::collective::Collective;
use crate::cuda::Platform;
use crate::error::ParallelError;
use crate::solo::SoloCollective;
use crate::threaded::ThreadedCollective;

/// A worker's device and its way to the others. Clones are handles of the same group.
#[derive(Clone)]
pub struct ProcessGroup {
    device: Device,
    collective: Arc<dyn Collective>,
    limits: Limits,
}

/// Limits on the time that a collective may take. They are half of the launcher's limits on silence: a rank that waits
/// for others then says for whom and in what, before the launcher ends it as hung.
#[derive(Clone, Copy)]
struct Limits {
    usual: Duration,
    first_step: Duration,
}

impl ProcessGroup {
    /// Joins the MPI job that this process was started in. CUDA tensors then go through NCCL, all else through MPI.
    ///
    /// # Errors
    /// MPI or NCCL cannot start ([`ThreadedCollective::mpi`], [`ThreadedCollective::nccl`]);
    /// [`ParallelError::WorldSize`] if the job's size is not the config's; [`ParallelError::Signals`] if SIGUSR1 cannot
    /// be handled.
    pub fn join(device: Device, cluster: &Cluster) -> Result<Self, ParallelError> {
        let limits = Limits {
            usual: Duration::from_secs(cluster.hang_timeout_s) / 2,
            first_step: Duration::from_secs(cluster.first_step_timeout_s) / 2,
        };
        let timeout = Some(limits.first_step);
        let collective = match device {
            Device::Cuda(ordinal) => {
                // Else what names no device, such as pinned memory, would make a context on the first GPU.
                defusion_torch::set_cuda_device(ordinal)?;
                ThreadedCollective::nccl(Platform::cuda(ordinal), timeout)?
            }
            _ => ThreadedCollective::mpi(timeout)?,
        };
        let (came, wanted) = (collective.size(), cluster.world_size() as usize);
        if came != wanted {
            return Err(ParallelError::WorldSize { came, wanted });
        }
        collective.flight_record().dump_on_sigusr1()?;
        Ok(Self { device, collective: Arc::new(collective), limits })
    }

    /// Makes a world of this process alone, without MPI.
    pub fn solo(device: Device) -> Self {
        let limits = Limits { usual: Duration::MAX, first_step: Duration::MAX };
        Self { device, collective: Arc::new(SoloCollective::new()), limits }
    }

    /// Notes that `done` steps of `stage` are finished, for errors and the flight record. `first` says that the next
    /// one is the first of the stage in this process, and may take longer.
    pub fn enter(&self, stage: Stage, done: u64, first: bool) {
        self.collective.flight_record().enter(&format!("{stage}, after {done} steps"));
        self.collective.set_timeout(Some(if first { self.limits.first_step } else { self.limits.usual }));
    }

    /// Returns what this worker computes on.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Returns this worker's number, from 0.
    pub fn rank(&self) -> usize {
        self.collective.rank()
    }

    /// Returns the number of workers.
    pub fn size(&self) -> usize {
        self.collective.size()
    }

    /// Returns the way to the others.
    pub fn collective(&self) -> &Arc<dyn Collective> {
        &self.collective
    }

    /// Leaves the job in order, after everything else that talks is over.
    ///
    /// # Errors
    /// An earlier collective failed, or the others did not come to the end.
    pub fn leave(self) -> Result<(), ParallelError> {
        self.collective.finish()
    }
}
