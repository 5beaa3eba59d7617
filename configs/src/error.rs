//! What can be wrong with a config.

use std::path::PathBuf;

/// An error in a config. Its text names the file and the key.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read config {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
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
    /// A `--set` that is no `key=value`, or whose value does not fit.
    #[error("--set {text}: {message}")]
    Override {
        /// As given.
        text: String,
        /// Why.
        message: String,
    },
    /// A value that cannot work.
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
