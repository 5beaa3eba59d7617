//! How a training job ends.

use defusion_checkpoint::CheckpointError;
use defusion_config::protocol::{EXIT_FAILED, EXIT_USAGE};
use defusion_dataloader::loader::LoadError;
use defusion_dataloader::shard::ShardError;
use defusion_parallel::ParallelError;
use defusion_restore::evaluate::EvaluateError;

use crate::monitor::MonitorError;
use crate::stage::StageError;

/// How a job ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Both stages are done.
    Finished,
    /// All ranks agreed to stop, and left a checkpoint.
    Stopped,
}

/// Why a job failed.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The loader.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A training step.
    #[error(transparent)]
    Stage(Box<StageError>),
    /// The datasets of validation.
    #[error(transparent)]
    Validation(#[from] EvaluateError),
    /// Run folder or checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The monitor.
    #[error(transparent)]
    Monitor(#[from] MonitorError),
    /// A collective outside a step.
    #[error(transparent)]
    Parallel(#[from] ParallelError),
    /// libtorch outside a step.
    #[error(transparent)]
    Torch(#[from] tch::TchError),
    /// libtorch cannot say what the device is.
    #[error("the worker's device: {0}")]
    Device(#[from] defusion_torch::TorchError),
    /// A shard is damaged.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// The handlers of the signals to stop cannot be installed.
    #[error("signals to stop cannot be handled: {0}")]
    Signals(#[from] std::io::Error),
    /// Another rank found something that ends the job on all ranks; it says what.
    #[error("{0}: another rank says which")]
    Elsewhere(&'static str),
    /// Rank 0 found something that ends the job on all ranks; it has said what.
    #[error("rank 0 could not go on: {text}")]
    RankZero {
        /// Rank 0's exit code.
        exit_code: i32,
        /// Rank 0's error.
        text: String,
    },
    /// Another rank found something that ends the job on all ranks; it has said what.
    #[error("rank {rank} could not go on: {text}")]
    OtherRank {
        /// The rank.
        rank: usize,
        /// Its exit code.
        exit_code: i32,
        /// Its error.
        text: String,
    },
}

impl From<StageError> for TrainError {
    fn from(error: StageError) -> Self {
        // By far the largest variant: without the box every result of this crate would be as large.
        Self::Stage(Box::new(error))
    }
}

impl TrainError {
    /// Returns whether starting the same command again can help.
    pub fn is_transient(&self) -> bool {
        self.exit_code() == EXIT_FAILED
    }

    /// Returns the worker's exit code, which tells the launcher whether to start again (`defusion_config::protocol`).
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Load(source) => source.exit_code(),
            Self::Stage(source) => source.exit_code(),
            Self::Validation(source) => source.exit_code(),
            Self::Checkpoint(source) => source.exit_code(),
            Self::Parallel(source) => source.exit_code(),
            Self::Shard(source) => source.exit_code(),
            Self::Device(source) => source.exit_code(),
            Self::RankZero { exit_code, .. } | Self::OtherRank { exit_code, .. } => *exit_code,
            Self::Elsewhere(_) => EXIT_USAGE,
            Self::Monitor(source) if !source.is_transient() => EXIT_USAGE,
            // The run folder's store, a full disk, the device: each may be well again at the next start.
            Self::Monitor(_) | Self::Torch(_) | Self::Signals(_) => EXIT_FAILED,
        }
    }

    /// Returns whether another rank has said what is wrong, so that this one need not.
    pub fn is_said_elsewhere(&self) -> bool {
        matches!(self, Self::RankZero { .. } | Self::OtherRank { .. } | Self::Elsewhere(_))
    }
}
