//! What can go wrong in launching, and the exit code it ends with.

use std::path::{Path, PathBuf};

use defusion_config::ConfigError;
use defusion_config::protocol::{EXIT_DIVERGED, EXIT_FAILED, EXIT_HUNG, EXIT_USAGE};

/// An error of the launcher. Its text says what, where and what to do.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The config cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The command line or the surroundings cannot work; trying again would fail alike.
    #[error("{0}")]
    Usage(String),
    /// A file or process operation failed.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// The operation, such as `start`.
        what: &'static str,
        /// The file or program.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The run ended badly. The message is complete; `code` is one of [`defusion_config::protocol`].
    #[error("{message}")]
    Ended {
        /// What happened, where.
        message: String,
        /// The exit code.
        code: i32,
    },
}

impl LaunchError {
    /// Makes a [`LaunchError::Usage`].
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// Makes a [`LaunchError::Io`].
    pub fn io(what: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io { what, path: path.to_owned(), source }
    }

    /// Whether starting again can help.
    pub fn is_transient(&self) -> bool {
        is_worth_a_restart(self.exit_code())
    }

    /// Exit code of a program that ends because of it: one of [`defusion_config::protocol`].
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Config(error) => error.exit_code(),
            Self::Usage(_) => EXIT_USAGE,
            // A program that is not there will not be there next time; a full process table may be better soon.
            Self::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied => EXIT_USAGE,
                _ => EXIT_FAILED,
            },
            Self::Ended { code, .. } => *code,
        }
    }
}

/// Whether a run that ended with `code` may end otherwise when it is started again.
pub fn is_worth_a_restart(code: i32) -> bool {
    !matches!(code, EXIT_USAGE | EXIT_DIVERGED)
}

/// Puts an exit code into words.
pub fn meaning(code: i32) -> &'static str {
    match code {
        0 => "finished",
        EXIT_USAGE => "cannot work as configured",
        EXIT_HUNG => "hung",
        EXIT_DIVERGED => "diverged",
        _ => "failed",
    }
}
