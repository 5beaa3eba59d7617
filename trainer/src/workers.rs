//! The workers of a job as each of them sees it: its device, and how it talks to the others.

use std::sync::Arc;
use std::time::Duration;

use defusion_config::Cluster;
use tch::Device;

use crate::parallel::{Collective, MpiCollective, ParallelError, SoloCollective};

/// This worker's device and its way to the others. Clones are handles of the same.
#[derive(Clone)]
pub struct Workers {
    device: Device,
    collective: Arc<dyn Collective>,
    mpi: Option<Arc<MpiCollective>>,
}

impl Workers {
    /// Joins the MPI job that this process was started in. CUDA tensors then go through NCCL, all else through MPI.
    ///
    /// # Errors
    /// Where MPI or NCCL cannot start, or the job's size is not the config's world size.
    pub fn join(device: Device, cluster: &Cluster) -> Result<Self, ParallelError> {
        let mpi = Arc::new(MpiCollective::start()?);
        let (ranks, wanted) = (mpi.size(), cluster.world_size());
        if ranks != wanted as usize {
            return Err(ParallelError::Start(format!(
                "{ranks} workers came, but cluster.nodes x cluster.workers_per_node is {wanted}"
            )));
        }
        let collective: Arc<dyn Collective> = match device {
            Device::Cuda(_) => return Err(ParallelError::Nccl("not built yet".into())),
            _ => Arc::clone(&mpi) as Arc<dyn Collective>,
        };
        Ok(Self { device, collective, mpi: Some(mpi) })
    }

    /// A world of this process alone, without MPI.
    pub fn alone(device: Device) -> Self {
        Self { device, collective: Arc::new(SoloCollective::new()), mpi: None }
    }

    /// From now on a collective that some rank does not come to fails after this time.
    pub fn set_patience(&self, limit: Duration) {
        if let Some(mpi) = &self.mpi {
            mpi.set_patience(Some(limit));
        }
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
        self.mpi.map_or(Ok(()), |mpi| mpi.finish())
    }
}
