//! How a training job ends.

use defusion_dataloader::loader::LoadError;
use defusion_dataloader::shard::ShardError;

use crate::checkpoint::CheckpointError;
use crate::evaluate::EvaluateError;
use crate::monitor::MonitorError;
use crate::parallel::ParallelError;
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
    Stage(#[from] StageError),
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
    /// A shard is damaged.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// Another rank found something that ends the job on all ranks; it says what.
    #[error("{0}: another rank says which")]
    Elsewhere(&'static str),
    /// Rank 0 found something that ends the job on all ranks; it has said what.
    #[error("rank 0 could not go on: {0}")]
    RankZero(String),
}
