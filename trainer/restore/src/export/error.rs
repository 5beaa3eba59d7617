//! Why weights cannot be exported, or an exported file not be used.

use std::path::PathBuf;

use defusion_checkpoint::CheckpointError;
use defusion_config::protocol::{EXIT_FAILED, EXIT_USAGE};
use defusion_config::{ConfigError, Stage};
use defusion_model::weights::WeightsError;

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The run folder cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A file of weights cannot be read or written.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The run is not that far.
    #[error("{run} has no checkpoint of the {stage} stage yet{hint}")]
    NoCheckpoint {
        /// The run folder.
        run: String,
        /// The stage needed.
        stage: Stage,
        /// What to do instead.
        hint: &'static str,
    },
    /// It exists already.
    #[error("{} exists; --force overwrites it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file that was not exported.
    #[error("{}: {message}; give a file that `defusion export` wrote without --tokenizer or --unet", path.display())]
    NotExported {
        /// The file.
        path: PathBuf,
        /// What is missing.
        message: String,
    },
    /// Its config cannot be used.
    #[error("{}: the config in its metadata: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ConfigError,
    },
}

impl ExportError {
    /// Returns whether the same command can succeed later.
    pub fn is_transient(&self) -> bool {
        self.exit_code() == EXIT_FAILED
    }

    /// Returns the exit code of a command that fails of it (`defusion_config::protocol`).
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Checkpoint(source) => source.exit_code(),
            Self::Weights(source) => source.exit_code(),
            Self::NoCheckpoint { .. } | Self::Exists { .. } | Self::NotExported { .. } | Self::Config { .. } => {
                EXIT_USAGE
            }
        }
    }
}
