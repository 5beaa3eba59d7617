//! What can go wrong.

use std::fmt::Write;
use std::path::PathBuf;

use defusion_config::protocol::{EXIT_FAILED, EXIT_USAGE};
use defusion_imaging::image_file::ImageFileError;
use defusion_restore::RestorerError;
use defusion_restore::export::ExportError;
use defusion_torch::TorchError;

/// Why images were not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The weights cannot be used.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// libtorch cannot say what the device is.
    #[error("--device: {0}")]
    Device(#[from] TorchError),
    /// An image cannot be read or written.
    #[error(transparent)]
    Image(#[from] ImageFileError),
    /// The config in the weights cannot work, or an image cannot be restored.
    #[error("{}: {source}", path.display())]
    Restorer {
        /// Weights or image.
        path: PathBuf,
        /// Why.
        source: Box<RestorerError>,
    },
    /// `--timesteps` cannot work.
    #[error("--timesteps must fall strictly and lie in 0..{0}")]
    Timesteps(i64),
    /// Several images, one file.
    #[error("--out {}: {count} images need a folder that exists", path.display())]
    Folder {
        /// As given.
        path: PathBuf,
        /// Images.
        count: usize,
    },
    /// A folder that cannot be read or made.
    #[error("{}: {source}", path.display())]
    FolderAccess {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A folder without images.
    #[error("{}: no images here: files named .png, .jpg, .webp, .bmp, .tif and the like", path.display())]
    NoImages {
        /// The folder.
        path: PathBuf,
    },
    /// Two images would have one name.
    #[error(
        "{} would be written twice, of {} and of {}: restore them into two folders, or rename one",
        path.display(), images[0].display(), images[1].display()
    )]
    Twice {
        /// The file.
        path: PathBuf,
        /// The images.
        images: Box<[PathBuf; 2]>,
    },
    /// A restored image would take the place of a degraded one, or lie among them.
    #[error("{} holds the images to be restored, or is one: --out needs another folder", path.display())]
    OwnInput {
        /// The file or folder.
        path: PathBuf,
    },
    /// Some of many failed; the others are restored.
    #[error("{}", list(failures, *images))]
    Some {
        /// Those that failed, in order.
        failures: Vec<Failure>,
        /// All that there were to be restored.
        images: usize,
    },
}

/// One of many images, or a folder of them, that failed.
#[derive(Debug)]
pub struct Failure {
    /// The image.
    pub path: PathBuf,
    /// Why.
    pub error: RestoreError,
}

fn list(failures: &[Failure], images: usize) -> String {
    let mut text = format!("{} of {images} failed:", failures.len());
    for failure in failures {
        // An error names its file, but perhaps the one to be written.
        let (path, error) = (failure.path.display().to_string(), failure.error.to_string());
        let _ = match error.contains(&path) {
            true => write!(text, "\n  {error}"),
            false => write!(text, "\n  {path}: {error}"),
        };
    }
    text
}

impl RestoreError {
    /// Returns whether the same command can succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Export(source) => source.is_transient(),
            Self::Device(source) => source.is_transient(),
            Self::Image(source) => source.is_transient(),
            Self::Restorer { source, .. } => source.is_transient(),
            Self::Some { failures, .. } => failures.iter().any(|failure| failure.error.is_transient()),
            Self::Timesteps(_)
            | Self::Folder { .. }
            | Self::FolderAccess { .. }
            | Self::NoImages { .. }
            | Self::Twice { .. }
            | Self::OwnInput { .. } => false,
        }
    }

    /// Returns the command's exit code (`defusion_config::protocol`). Of several failures, one that starting again can help
    /// decides.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Export(source) => source.exit_code(),
            Self::Device(source) => source.exit_code(),
            Self::Image(source) => source.exit_code(),
            Self::Restorer { source, .. } => source.exit_code(),
            _ if self.is_transient() => EXIT_FAILED,
            _ => EXIT_USAGE,
        }
    }
}
