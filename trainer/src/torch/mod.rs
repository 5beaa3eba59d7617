//! A small shim over libtorch for what tch lacks, and its safe Rust face.
//!
//! The C++ half is in `cpp/` and is built by `build.rs`. C++ exceptions are caught there and come back as
//! [`TorchError`]; a panic in a Rust callback is caught here and becomes a C++ exception. This module and
//! `parallel::nccl` hold all `unsafe` of the crate.

mod attention;
mod autograd;
mod data;
mod ffi;
mod fused;
mod grad;
mod norm;
mod settings;
mod stream;
mod upsample;

pub use attention::attention;
pub use autograd::{checkpoint, custom};
pub use fused::{AdamWHyper, foreach_lerp_, foreach_norm, fused_adamw_};
pub use grad::{GradHook, accumulate_, on_grad, set_grad, take_grad};
pub use norm::{Norm, group_norm};
pub use settings::{Autocast, relax_grad_layout, set_deterministic, tune_malloc};
pub use stream::{current_cuda_stream, set_cuda_device};
pub use upsample::upsample_conv;

pub(crate) use data::{cpu_bits_mut, cpu_bytes_mut, cpu_slice_mut};

/// A C++ exception of libtorch, or a failed callback.
#[derive(Debug, Clone, thiserror::Error)]
#[error("libtorch: {0}")]
pub struct TorchError(pub String);

impl From<tch::TchError> for TorchError {
    fn from(e: tch::TchError) -> Self {
        Self(e.to_string())
    }
}
