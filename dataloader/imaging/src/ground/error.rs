//! What can be wrong with the user's own ground images.

use std::path::PathBuf;

use defusion_config::protocol::{EXIT_FAILED, EXIT_USAGE};

use crate::image_file::ImageFileError;

/// A folder of ground images that cannot be used. The text names the config key.
#[derive(Debug, thiserror::Error)]
pub enum GroundError {
    /// The folder cannot be listed.
    #[error("{key}: cannot list {}: {source}", path.display())]
    List {
        /// Config key.
        key: &'static str,
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The folder has no image.
    #[error("{key}: {} holds no PNG or JPEG image; add some, or unset the key", path.display())]
    Empty {
        /// Config key.
        key: &'static str,
        /// The folder.
        path: PathBuf,
    },
    /// The folder has more images than are kept in memory.
    #[error("{key}: {} holds {count} images, of which at most {most} are kept in memory; keep fewer in it", path.display())]
    TooMany {
        /// Config key.
        key: &'static str,
        /// The folder.
        path: PathBuf,
        /// Images found.
        count: usize,
        /// Images allowed.
        most: usize,
    },
    /// An image cannot be read.
    #[error("{key}: {source}")]
    Decode {
        /// Config key.
        key: &'static str,
        /// The file, and what is wrong with it.
        source: ImageFileError,
    },
}

impl GroundError {
    /// Whether starting again can help: if an image could not be read for a reason that may pass.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Decode { source, .. } if source.is_transient())
    }

    /// Exit code of a program that ends with this error.
    pub fn exit_code(&self) -> i32 {
        if self.is_transient() { EXIT_FAILED } else { EXIT_USAGE }
    }
}
