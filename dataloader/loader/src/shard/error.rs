//! What can be wrong with shards.

use arrow_schema::ArrowError;
use defusion_config::protocol::{EXIT_FAILED, EXIT_USAGE};
use defusion_datasets::ShardManifestError;
use defusion_storage::StoreError;
use parquet::errors::ParquetError;

/// A dataset, shard or image that cannot be read or written. Its text names the file and never holds credentials.
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
    #[error("{url}: {source}")]
    Manifest {
        /// The manifest.
        url: String,
        /// What is wrong with it.
        source: ShardManifestError,
    },
    /// The dataset has no images of the split that is asked for.
    #[error("{url}: has no images of split `{split}`; it has {known}")]
    NoSplit {
        /// The dataset's folder.
        url: String,
        /// The split asked for.
        split: String,
        /// The splits that there are.
        known: String,
    },
    /// A shard file cannot be used.
    #[error("shard {file}: {source}")]
    Shard {
        /// The shard.
        file: String,
        /// What is wrong with it.
        source: Box<FormatError>,
    },
    /// One image of a shard cannot be used.
    #[error("shard {file}, image {key}: {source}")]
    Image {
        /// The shard.
        file: String,
        /// The image's key.
        key: String,
        /// What is wrong with it.
        source: Box<FormatError>,
    },
    /// An image that the dataset does not have.
    #[error("dataset {dataset} has {len} images; there is no number {index}")]
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
        /// What is wrong, and what to do.
        message: String,
    },
}

impl ShardError {
    /// Whether starting again can help: if a store does not answer, or the cache's disk is full. What is wrong with the
    /// data itself stays wrong.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Cache { .. } => true,
            Self::NotPrepared { .. }
            | Self::Manifest { .. }
            | Self::NoSplit { .. }
            | Self::Shard { .. }
            | Self::Image { .. }
            | Self::Index { .. } => false,
        }
    }

    /// Whether the data itself is wrong or missing, so that preparing it again helps; not if it merely cannot be read.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Store(error) => matches!(error, StoreError::NotFound { .. }),
            Self::Cache { .. } => false,
            Self::NotPrepared { .. } | Self::Manifest { .. } | Self::Shard { .. } | Self::Image { .. } => true,
            Self::NoSplit { .. } | Self::Index { .. } => false,
        }
    }

    /// Exit code of a program that ends with this error.
    pub fn exit_code(&self) -> i32 {
        if self.is_transient() { EXIT_FAILED } else { EXIT_USAGE }
    }

    pub(crate) fn shard(file: impl Into<String>, source: impl Into<FormatError>) -> Self {
        Self::Shard { file: file.into(), source: Box::new(source.into()) }
    }
}

/// What is wrong with a shard file, with an image in it, or with what is to be stored in one. The text goes on from the
/// file's or the image's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The file cannot be read. Holds the system's reason.
    #[error("{0}")]
    Io(String),
    /// Parquet cannot be read or written. Holds the library's reason.
    #[error("{0}")]
    Parquet(String),
    /// The file is no shard, or not one that this program reads. Holds what it lacks.
    #[error("{0}")]
    Foreign(String),
    /// The bytes contradict themselves. Holds where.
    #[error("{0}")]
    Damaged(String),
    /// The file is not what the manifest says of it. Holds the difference.
    #[error("{0}, but the manifest says {1}")]
    Manifest(String, String),
    /// A side of a tile that no reader takes.
    #[error("a tile side of {0} pixels is not between 8 and 1024")]
    Tile(u32),
    /// The degraded image and the clean one differ in size.
    #[error("is {}x{} but its clean image is {}x{}", degraded[0], degraded[1], clean[0], clean[1])]
    Sizes {
        /// Width and height of the degraded image, pixels.
        degraded: [u32; 2],
        /// Width and height of the clean image, pixels.
        clean: [u32; 2],
    },
    /// The image has more pixels than a shard takes.
    #[error("is {width}x{height}, more than the {limit} pixels that a shard takes")]
    TooLarge {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
        /// Pixels allowed.
        limit: u64,
    },
    /// The packed image is too long. Holds its length.
    #[error("takes {0} bytes, more than a Parquet value can hold")]
    TooLong(usize),
    /// A part that the image does not have. Holds the size of the image, and the part.
    #[error("is {}x{}; it has no part of {}x{} at ({}, {})", size[0], size[1], part[2], part[3], part[0], part[1])]
    Part {
        /// Width and height of the image, pixels.
        size: [u32; 2],
        /// Left, top, width and height of the part, pixels.
        part: [usize; 4],
    },
    /// The compressor cannot be set up. Holds its reason.
    #[error("{0}")]
    Compressor(String),
}

impl FormatError {
    pub(crate) fn damaged(message: impl ToString) -> Self {
        Self::Damaged(message.to_string())
    }

    /// Whether starting again can help: it cannot, the file stays what it is.
    pub fn is_transient(&self) -> bool {
        false
    }

    /// Exit code of a program that ends with this error.
    pub fn exit_code(&self) -> i32 {
        EXIT_USAGE
    }
}

impl From<std::io::Error> for FormatError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

impl From<ParquetError> for FormatError {
    fn from(error: ParquetError) -> Self {
        Self::Parquet(error.to_string())
    }
}

impl From<ArrowError> for FormatError {
    fn from(error: ArrowError) -> Self {
        Self::Parquet(error.to_string())
    }
}
