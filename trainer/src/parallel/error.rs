//! What can go wrong between ranks.

use crate::torch::TorchError;

/// A failure of the parallel engine. Every message names the rank that reports it and what it was doing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ParallelError {
    /// A collective failed, or came at the wrong time.
    #[error("rank {rank}: {operation}: {what}")]
    Collective {
        /// The rank that reports it.
        rank: usize,
        /// Name of the collective, and of what it was called for.
        operation: String,
        /// What happened.
        what: String,
    },
    /// Ranks did not come to a collective in time.
    #[error("rank {rank}: {operation}: waited {seconds:.0} s; {who}")]
    Hung {
        /// The rank that reports it.
        rank: usize,
        /// Name of the collective, and of what it was called for.
        operation: String,
        /// How long was waited.
        seconds: f64,
        /// Which ranks did not come, as far as the others can tell.
        who: String,
    },
    /// MPI cannot be started, or gives a world that does not fit.
    #[error("MPI: {0}")]
    Start(String),
    /// NCCL or CUDA cannot be used.
    #[error("NCCL: {0}")]
    Nccl(String),
    /// A network cannot be trained in parallel as it is, or its gradients did not come as they should.
    #[error("rank {rank}: {network}: {what}")]
    Network {
        /// The rank that reports it.
        rank: usize,
        /// Name that [`super::DataParallel`] was given.
        network: String,
        /// What is wrong, with the parameters' names.
        what: String,
    },
    /// libtorch's own.
    #[error(transparent)]
    Torch(#[from] TorchError),
}

impl ParallelError {
    /// Whether ranks did not come in time.
    pub fn is_hang(&self) -> bool {
        matches!(self, Self::Hung { .. })
    }
}

impl From<tch::TchError> for ParallelError {
    fn from(e: tch::TchError) -> Self {
        Self::Torch(e.into())
    }
}
