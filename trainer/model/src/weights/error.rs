//! What can be wrong with a file of weights.

use std::path::PathBuf;

use defusion_config::protocol::EXIT_USAGE;
use defusion_torch::TorchError;
use defusion_torch::host::HostError;

/// What can be wrong with a file of weights. The text names the file and the tensor.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file cannot be read or written.
    #[error("weights {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// It is no safetensors file, or is cut short.
    #[error("weights {}: not a whole safetensors file: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor is missing.
    #[error("weights {}: no tensor `{name}` ({missing} are missing in all)", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The first missing tensor.
        name: String,
        /// How many are missing.
        missing: usize,
    },
    /// A tensor is there that the network has no place for.
    #[error("weights {}: tensor `{name}` has no place in the network ({unknown} such in all)", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The first such tensor.
        name: String,
        /// How many there are.
        unknown: usize,
    },
    /// A tensor has another shape than the network.
    #[error("weights {}: tensor `{name}` is {found:?} but the network needs {expected:?}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<i64>,
        /// The network's.
        expected: Vec<i64>,
    },
    /// A tensor's type is not supported.
    #[error("weights {}: tensor `{name}` is {dtype}; expected a floating-point or int64 tensor", path.display())]
    Type {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type: safetensors' name for it or, if it has none there, libtorch's.
        dtype: String,
    },
    /// The bytes of a tensor make none.
    #[error("weights {}: {source}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor, and what is wrong with it.
        source: HostError,
    },
    /// libtorch failed to copy a tensor.
    #[error("weights {}: {source}", path.display())]
    Torch {
        /// The file.
        path: PathBuf,
        /// libtorch's reason.
        source: TorchError,
    },
}

impl WeightsError {
    /// Returns whether the same file can serve later. It cannot: a person names another, or mends it.
    pub fn is_transient(&self) -> bool {
        false
    }

    /// Returns the exit code that tells the launcher not to start again.
    pub fn exit_code(&self) -> i32 {
        EXIT_USAGE
    }
}
