//! Files of weights: safetensors in, safetensors out.
//!
//! Reading trusts nothing: sizes, names and shapes are checked before a network is touched. Writing streams one tensor
//! at a time and is deterministic (the `safetensors` crate's writer orders metadata by a random hash, and leaves files
//! that only their owner can read), so the same weights always give the same sha256.

mod error;
mod read;
mod types;
mod write;

pub use error::WeightsError;
pub use read::WeightsFile;
pub use write::write;
