//! Why a command ends without success.

use defusion_config::ConfigError;
use defusion_config::protocol::{EXIT_FAILED, EXIT_USAGE};
use defusion_dataloader::prepare::PrepareError;
use defusion_dataloader::shard::ShardError;
use defusion_datasets::{DescriptorError, ScanError};
use defusion_imaging::ImageFileError;
use defusion_imaging::ground::GroundError;
use defusion_storage::StoreError;

/// Why a command ends without success. The text names the file, URL or key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The config cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A dataset's descriptor cannot be used.
    #[error(transparent)]
    Descriptor(#[from] DescriptorError),
    /// A dataset's folder cannot be scanned.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// A dataset cannot be prepared.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// Shards cannot be read.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// A folder of shards cannot be reached.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Shards do not hold what their manifest says.
    #[error("{0} shards are damaged; prepare their datasets again")]
    Damaged(usize),
    /// Shards could not be read, and none is known to be damaged.
    #[error("{count} shards could not be read, which says nothing of what they hold; the first: {first}")]
    Unread {
        /// How many.
        count: usize,
        /// Why one of them could not.
        first: ShardError,
    },
    /// An image file cannot be read or written.
    #[error(transparent)]
    Image(#[from] ImageFileError),
    /// The user's ground images cannot be used.
    #[error(transparent)]
    Ground(#[from] GroundError),
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(std::io::Error),
}

impl Failure {
    /// The exit code that the error asks for.
    pub(crate) fn exit_code(&self) -> i32 {
        match self {
            Self::Config(e) => e.exit_code(),
            Self::Descriptor(e) => e.exit_code(),
            Self::Scan(e) => e.exit_code(),
            Self::Prepare(e) => e.exit_code(),
            Self::Shard(e) => e.exit_code(),
            Self::Store(e) if e.is_transient() => EXIT_FAILED,
            Self::Store(_) | Self::Damaged(_) => EXIT_USAGE,
            Self::Unread { first, .. } => first.exit_code(),
            Self::Image(e) => e.exit_code(),
            Self::Ground(e) => e.exit_code(),
            Self::Output(_) => EXIT_FAILED,
        }
    }
}
