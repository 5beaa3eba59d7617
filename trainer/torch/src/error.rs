//! The error of everything that calls libtorch.

use defusion_config::protocol::EXIT_FAILED;

/// A C++ exception of libtorch, or a failed callback.
#[derive(Debug, Clone, thiserror::Error)]
#[error("libtorch: {0}")]
pub struct TorchError(pub String);

impl From<tch::TchError> for TorchError {
    fn from(e: tch::TchError) -> Self {
        Self(e.to_string())
    }
}

impl TorchError {
    /// Returns whether starting again can help. It can: libtorch does not say what failed, and memory or a device that
    /// is short for the moment is among the reasons.
    pub fn is_transient(&self) -> bool {
        true
    }

    /// Returns the exit code that tells the launcher to start again.
    pub fn exit_code(&self) -> i32 {
        EXIT_FAILED
    }
}
