//! What can be wrong with shards.

use crate::store::StoreError;

/// A dataset, shard or picture that cannot be read or written. Its text names the file and never holds credentials.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ShardError {
    /// The folder or one of its objects cannot be reached.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The folder holds no finished dataset.
    #[error("{url} holds no {file}: the dataset is not prepared, or its preparation was not finished", file = super::MANIFEST)]
    NotPrepared {
        /// The folder.
        url: String,
    },
    /// The manifest cannot be used.
    #[error("{url}: {message}")]
    Manifest {
        /// The manifest.
        url: String,
        /// Why.
        message: String,
    },
    /// A shard file cannot be used.
    #[error("shard {file}: {message}")]
    Shard {
        /// The shard.
        file: String,
        /// Why.
        message: String,
    },
    /// One picture of a shard cannot be used.
    #[error("shard {file}, picture {key}: {message}")]
    Picture {
        /// The shard.
        file: String,
        /// The picture's key, or its row.
        key: String,
        /// Why.
        message: String,
    },
    /// A picture that the dataset does not have.
    #[error("dataset {dataset} has {len} pictures; there is no number {index}")]
    Index {
        /// The dataset.
        dataset: String,
        /// As asked for.
        index: usize,
        /// How many there are.
        len: usize,
    },
    /// The local cache of remote shards cannot be used.
    #[error("shard cache {dir}: {message}")]
    Cache {
        /// The cache's folder or file.
        dir: String,
        /// Why, and what to do.
        message: String,
    },
}

impl ShardError {
    /// Whether trying again later can help: a store that does not answer, a disk that is full. What is wrong with the data
    /// itself stays wrong.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Store(StoreError::Failed { .. }) | Self::Cache { .. })
    }

    pub(crate) fn shard(file: impl Into<String>, message: impl std::fmt::Display) -> Self {
        Self::Shard { file: file.into(), message: message.to_string() }
    }
}
