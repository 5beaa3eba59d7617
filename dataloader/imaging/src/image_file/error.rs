//! What can be wrong with image files.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use defusion_config::protocol::{EXIT_FAILED, EXIT_USAGE};

const FORMATS: &str = "PNG, JPEG, WebP, BMP and TIFF";

/// What can be wrong with encoded bytes.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// They cannot be read.
    #[error(transparent)]
    Read(#[from] std::io::Error),
    /// They are no image that can be decoded.
    #[error("{0}; {FORMATS} are read")]
    Format(image::ImageError),
    /// They are no image at all.
    #[error("it is no image of a known format, whatever its name says; {FORMATS} are read")]
    Unknown,
    /// There are none.
    #[error("the file is empty, it has 0 bytes")]
    NoBytes,
    /// They make the decoder panic.
    #[error("the decoder panicked; the file is probably damaged")]
    Panicked,
    /// They end before the image does.
    #[error("the file is truncated: it ends before its image does; copy or load it again")]
    Truncated,
    /// Their samples are neither 8 nor 16 bits wide.
    #[error("samples of type {0} are not supported")]
    SampleType(String),
    /// They hold no pixel.
    #[error("has no pixels")]
    Empty,
    /// They hold more pixels than are read.
    #[error("{width}x{height} pixels are more than the {limit} that are read")]
    TooLarge {
        /// Pixels across, upright.
        width: u32,
        /// Pixels down, upright.
        height: u32,
        /// Pixels allowed.
        limit: u64,
    },
}

/// An image that cannot be encoded.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct EncodeError(#[from] image::ImageError);

impl EncodeError {
    /// Whether starting again can help: it cannot.
    pub fn is_transient(&self) -> bool {
        false
    }

    /// Exit code of a program that ends with this error.
    pub fn exit_code(&self) -> i32 {
        EXIT_USAGE
    }
}

/// What can be wrong with an image file. The text names the file.
#[derive(Debug, thiserror::Error)]
pub enum ImageFileError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It is no image that can be decoded.
    #[error("cannot decode {}: {source}", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// The decoder's reason.
        source: DecodeError,
    },
    /// It is too large.
    #[error("{}: {width}x{height} pixels are more than the {limit} that are read; cut it into parts", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
        /// Pixels allowed.
        limit: u64,
    },
    /// Its name says no format that is written.
    #[error("{}: images are written as .png, .jpg, .jpeg, .tif or .tiff", path.display())]
    Extension {
        /// The file.
        path: PathBuf,
    },
    /// It exists already.
    #[error("{} exists; --force overwrites it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It cannot be encoded.
    #[error("cannot encode {}: {source}", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// The encoder's reason.
        source: EncodeError,
    },
}

impl ImageFileError {
    pub(super) fn of(path: &Path, error: DecodeError) -> Self {
        let path = path.to_owned();
        match error {
            DecodeError::Read(source) => Self::Read { path, source },
            DecodeError::TooLarge { width, height, limit } => Self::TooLarge { path, width, height, limit },
            source => Self::Decode { path, source },
        }
    }

    /// What is wrong, without the file's name: for lists that name the file already.
    pub fn reason(&self) -> String {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => source.to_string(),
            Self::Decode { source, .. } => source.to_string(),
            Self::Encode { source, .. } => source.to_string(),
            Self::TooLarge { width, height, limit, .. } => {
                DecodeError::TooLarge { width: *width, height: *height, limit: *limit }.to_string()
            }
            Self::Extension { .. } => "images are written as .png, .jpg, .jpeg, .tif or .tiff".into(),
            Self::Exists { .. } => "exists already".into(),
        }
    }

    /// Whether starting again can help: if reading or writing failed for another reason than a missing or forbidden file.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => {
                !matches!(source.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::IsADirectory)
            }
            _ => false,
        }
    }

    /// Exit code of a program that ends with this error.
    pub fn exit_code(&self) -> i32 {
        if self.is_transient() { EXIT_FAILED } else { EXIT_USAGE }
    }
}
