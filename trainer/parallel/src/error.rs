//! What can go wrong between ranks.

use defusion_config::protocol::{EXIT_FAILED, EXIT_HUNG, EXIT_USAGE};
use defusion_torch::TorchError;

/// A failure of the parallel engine. Messages about a collective name the rank that reports it and what it was doing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ParallelError {
    /// A collective failed, or came at the wrong time.
    #[error("rank {rank}: {operation}: {what}")]
    Collective {
        /// The rank that reports it.
        rank: usize,
        /// Name of the collective, and of what it was called for.
        operation: String,
        /// The failure in words.
        what: String,
    },
    /// Ranks did not come to a collective in time.
    #[error("rank {rank}: {operation}: waited {seconds:.0} s; {who}")]
    Hung {
        /// The rank that reports it.
        rank: usize,
        /// Name of the collective, and of what it was called for.
        operation: String,
        /// Seconds that it has waited.
        seconds: f64,
        /// The ranks that did not come, in words, as far as the others can tell.
        who: String,
    },
    /// MPI cannot be started, or has ended.
    #[error("MPI: {0}")]
    Mpi(String),
    /// NCCL cannot be used, or failed outside of a collective.
    #[error("NCCL: {0}")]
    Nccl(String),
    /// The CUDA driver reports an error.
    #[error("CUDA driver: {0}")]
    Cuda(String),
    /// A shared library cannot be loaded, or lacks a function.
    #[error("shared library: {0}")]
    Library(String),
    /// A thread of the engine cannot be started, or has ended before its time.
    #[error("thread: {0}")]
    Thread(String),
    /// A signal handler cannot be installed.
    #[error("signals: {0}")]
    Signals(String),
    /// The job has another number of workers than the config.
    #[error("{came} workers came, but cluster.nodes x cluster.workers_per_node is {wanted}")]
    WorldSize {
        /// Workers of the job.
        came: usize,
        /// Workers that the config names.
        wanted: usize,
    },
    /// A network cannot be trained in parallel as it is, or its gradients did not come as they should.
    #[error("rank {rank}: {network}: {what}")]
    Network {
        /// The rank that reports it.
        rank: usize,
        /// Name that [`crate::DataParallel`] was given.
        network: String,
        /// The fault in words, with the parameters' names.
        what: String,
    },
    /// A backward pass failed: libtorch's own error, that of a gradient hook, or of a collective within.
    #[error("rank {rank}: {network}: backward: {what}")]
    Backward {
        /// The rank that reports it.
        rank: usize,
        /// Name that [`crate::DataParallel`] was given.
        network: String,
        /// The failure in words.
        what: String,
    },
    /// An error of libtorch.
    #[error(transparent)]
    Torch(#[from] TorchError),
}

impl ParallelError {
    /// Returns whether ranks did not come in time.
    pub fn is_hang(&self) -> bool {
        matches!(self, Self::Hung { .. })
    }

    /// Returns whether starting the job again can help: not if a person has to change the config, the program or the
    /// machine.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Library(_) | Self::WorldSize { .. } | Self::Network { .. } => false,
            Self::Collective { .. }
            | Self::Hung { .. }
            | Self::Mpi(_)
            | Self::Nccl(_)
            | Self::Cuda(_)
            | Self::Thread(_)
            | Self::Signals(_)
            | Self::Backward { .. } => true,
            Self::Torch(source) => source.is_transient(),
        }
    }

    /// Returns the exit code that tells the launcher what to do about it.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Hung { .. } => EXIT_HUNG,
            _ if self.is_transient() => EXIT_FAILED,
            _ => EXIT_USAGE,
        }
    }
}

impl From<tch::TchError> for ParallelError {
    fn from(e: tch::TchError) -> Self {
        Self::Torch(e.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_launcher_is_told_what_a_restart_can_mend() {
        let hung = ParallelError::Hung { rank: 1, operation: "barrier".into(), seconds: 2.0, who: "rank 0".into() };
        assert_eq!((hung.exit_code(), hung.is_transient(), hung.is_hang()), (EXIT_HUNG, true, true));
        for error in [ParallelError::Mpi(String::new()), ParallelError::Torch(TorchError("out of memory".into()))] {
            assert_eq!((error.exit_code(), error.is_transient(), error.is_hang()), (EXIT_FAILED, true, false));
        }
        for error in [ParallelError::WorldSize { came: 1, wanted: 2 }, ParallelError::Library(String::new())] {
            assert_eq!((error.exit_code(), error.is_transient(), error.is_hang()), (EXIT_USAGE, false, false));
        }
    }
}
