//! What can be wrong with a config.

use std::path::PathBuf;

use crate::protocol::EXIT_USAGE;

/// An error in a config. Its text names the file and the key.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read config {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is no valid config: unknown key, wrong type, bad YAML.
    #[error("config {}: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Key, line and reason.
        message: String,
    },
    /// A `--set` is no `key=value`, or its value does not fit.
    #[error("--set {text}: {message}")]
    Override {
        /// The change as given.
        text: String,
        /// What is wrong with it.
        message: String,
    },
    /// A value cannot work.
    #[error("config {}: {key}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Dotted key.
        key: String,
        /// What is wrong and what to do.
        message: String,
    },
}

impl ConfigError {
    /// Whether starting again can help: never, a person has to change something.
    pub fn is_transient(&self) -> bool {
        false
    }

    /// Exit code of a program that ends because of it.
    pub fn exit_code(&self) -> i32 {
        EXIT_USAGE
    }
}
