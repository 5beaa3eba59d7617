//! Why a dataset cannot be prepared.

use defusion_config::protocol::{EXIT_FAILED, EXIT_USAGE};
use defusion_datasets::{Problem, ScanError};
use defusion_storage::StoreError;

use super::report;
use crate::shard::{FormatError, MAX_PIXELS, ShardError};

/// A dataset that cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The source cannot be scanned.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// The target cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The target's manifest cannot be read.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// The target holds a finished dataset.
    #[error("{url} holds a prepared dataset already ({rows} pairs); nothing was written. Replace it with --overwrite")]
    Exists {
        /// The dataset's folder.
        url: String,
        /// Its pairs.
        rows: u64,
    },
    /// The target holds the beginning of something else.
    #[error(
        "{url} holds shards of another preparation (another source, or other options): {file}; nothing was written. Replace them with --overwrite"
    )]
    Foreign {
        /// The dataset's folder.
        url: String,
        /// One of the shards.
        file: String,
    },
    /// Something is wrong with the source.
    #[error("{dataset}: {n} problem(s); no manifest was written. Mend them, or go on without these images (--leave-out-problems):\n{list}",
        n = problems.len(), list = report::lines(problems, 50))]
    Problems {
        /// The dataset.
        dataset: String,
        /// All of them.
        problems: Vec<Problem>,
    },
    /// No pair is left.
    #[error("{dataset}: there is nothing to prepare")]
    Empty {
        /// The dataset.
        dataset: String,
    },
    /// A shard cannot be written.
    #[error("{file}: {source}")]
    Pack {
        /// The shard.
        file: String,
        /// What is wrong.
        source: FormatError,
    },
    /// The side of a tile cannot work.
    #[error(transparent)]
    Tile(FormatError),
    /// More pixels are allowed than a shard takes.
    #[error("a shard takes images of at most {MAX_PIXELS} pixels")]
    MaxPixels,
    /// Degradations are given for a dataset that names its own.
    #[error("dataset {dataset} is degraded by {known} already")]
    Degradations {
        /// The dataset.
        dataset: String,
        /// Its degradations.
        known: String,
    },
    /// The name of a split cannot be used.
    #[error(
        "split `{0}`: only a dataset with a single split can be given another name of lower-case letters, digits and `_`"
    )]
    Split(String),
}

impl PrepareError {
    /// Whether starting again can help: if the source or the target could not be reached.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Scan(error) => error.is_transient(),
            Self::Store(error) => error.is_transient(),
            Self::Shard(error) => error.is_transient(),
            Self::Exists { .. }
            | Self::Foreign { .. }
            | Self::Problems { .. }
            | Self::Empty { .. }
            | Self::Pack { .. }
            | Self::Tile(_)
            | Self::MaxPixels
            | Self::Degradations { .. }
            | Self::Split(_) => false,
        }
    }

    /// Exit code of a program that ends with this error.
    pub fn exit_code(&self) -> i32 {
        if self.is_transient() { EXIT_FAILED } else { EXIT_USAGE }
    }
}
