//! Why a log cannot be written.

use std::path::PathBuf;

use defusion_storage::StoreError;

/// A log, image or event that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// The run folder's store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A local file failed.
    #[error("cannot write {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The thread that uploads logs cannot be started.
    #[error("no thread to upload logs: {0}")]
    Thread(std::io::Error),
    /// Tensors that make no image.
    #[error("image grid `{name}`: {message}")]
    Grid {
        /// Name of the grid.
        name: String,
        /// Why.
        message: String,
    },
}

impl MonitorError {
    /// Returns whether it can be well again later: a store or a disk may be.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(source) => source.is_transient(),
            Self::File { .. } | Self::Thread(_) => true,
            Self::Grid { .. } => false,
        }
    }
}
