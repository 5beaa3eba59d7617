//! Why there is no batch.

use defusion_config::protocol::{EXIT_FAILED, EXIT_USAGE};
use defusion_imaging::ground::GroundError;

use crate::plan::PlanError;
use crate::shard::ShardError;

/// A batch that cannot be made. The text names the dataset and the file.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A dataset cannot be opened.
    #[error("dataset {dataset}: {source}")]
    Dataset {
        /// The dataset.
        dataset: String,
        /// What is wrong; it names the file.
        source: ShardError,
    },
    /// A sample cannot be read.
    #[error("sample {sample} of dataset {dataset}: {source}")]
    Sample {
        /// Number of the sample.
        sample: u64,
        /// The dataset.
        dataset: String,
        /// What is wrong; it names the shard and the image.
        source: ShardError,
    },
    /// A dataset of clean images is used without synthetic degradations.
    #[error("dataset {dataset}: {key} has no degraded image; name chains in data.datasets.synthesize")]
    CleanOnly {
        /// The dataset.
        dataset: String,
        /// One of its images.
        key: String,
    },
    /// The plan cannot be made.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The user's ground images cannot be used.
    #[error(transparent)]
    Ground(#[from] GroundError),
    /// The batch cannot be divided among the ranks.
    #[error(
        "a global batch of {batch} cannot be dealt to rank {rank} of {world} in {accumulation} micro-batches: with more than \
         one, ranks times micro-batches must divide it"
    )]
    World {
        /// Samples of a step.
        batch: u64,
        /// This rank.
        rank: usize,
        /// Number of ranks.
        world: usize,
        /// Micro-batches of a rank.
        accumulation: u32,
    },
    /// The loader's threads cannot be started. Holds the system's reason.
    #[error("cannot start the loader's threads: {0}")]
    Threads(String),
    /// A thread of the loader panicked, which is a bug, or the loader has failed before.
    #[error("the loader has ended; its first error says why")]
    Ended,
}

impl LoadError {
    /// Whether starting again can help: if a store did not answer.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Dataset { source, .. } | Self::Sample { source, .. } => source.is_transient(),
            Self::Ground(error) => error.is_transient(),
            Self::Plan(error) => error.is_transient(),
            Self::CleanOnly { .. } | Self::World { .. } | Self::Threads(_) | Self::Ended => false,
        }
    }

    /// Exit code of a program that ends with this error.
    pub fn exit_code(&self) -> i32 {
        if self.is_transient() { EXIT_FAILED } else { EXIT_USAGE }
    }
}
