//! A small shim over libtorch for what `tch` lacks, and its safe Rust face.
//!
//! It has gradient hooks and custom autograd functions with Rust bodies ([`on_grad`], [`custom`], [`checkpoint`]),
//! fused kernels ([`group_norm`], [`attention`], [`upsample_conv`], [`fused_adamw_`]), bfloat16 autocast
//! ([`autocast()`]), CUDA's current stream, the bytes of tensors in host memory ([`host`]), and switches of libtorch
//! and of the allocator.
//!
//! The C++ half is in `cpp/` and is compiled by `build.rs`, which also hands the linker's arguments down to every crate
//! whose tests or binaries link libtorch (`link.rs`). C++ exceptions are caught there and come back as [`TorchError`];
//! a panic in a Rust callback is caught here and becomes a C++ exception.
//!
//! Networks, checkpoints and the parallel engine stand on this crate. It is one of the two that may hold `unsafe` code.
//!
//! # Example
//! ```no_run
//! use std::sync::{Arc, Mutex};
//!
//! use defusion_torch::{TorchError, accumulate_, on_grad, take_grad};
//! use tch::{Device, Kind, Tensor};
//!
//! fn main() -> Result<(), TorchError> {
//!     let weight = Tensor::ones([3], (Kind::Float, Device::Cpu)).set_requires_grad(true);
//!     let bucket = Arc::new(Mutex::new(Tensor::zeros([3], (Kind::Float, Device::Cpu))));
//!     let into = Arc::clone(&bucket);
//!     // Moves each gradient out of `.grad` as soon as backward has computed it.
//!     let _hook = on_grad(&weight, move |weight| match take_grad(weight)? {
//!         Some(grad) => accumulate_(&into.lock().unwrap(), &grad, 0.5, true),
//!         None => Ok(()),
//!     })?;
//!     weight.square().sum(Kind::Float).backward();
//!     assert_eq!(*bucket.lock().unwrap(), Tensor::ones([3], (Kind::Float, Device::Cpu)));
//!     Ok(())
//! }
//! ```
#![deny(unsafe_code)]

#[allow(unsafe_code)]
mod attention;
#[allow(unsafe_code)]
mod autocast;
#[allow(unsafe_code)]
mod autograd;
mod error;
#[allow(unsafe_code)]
mod ffi;
#[allow(unsafe_code)]
mod fused;
#[allow(unsafe_code)]
mod grad;
pub mod host;
#[allow(unsafe_code)]
mod malloc;
#[allow(unsafe_code)]
mod norm;
#[allow(unsafe_code)]
mod settings;
#[allow(unsafe_code)]
mod stream;
#[allow(unsafe_code)]
mod upsample;

pub use attention::attention;
pub use autocast::{autocast, full_precision, native_bfloat16};
pub use autograd::{checkpoint, custom};
pub use error::TorchError;
pub use fused::{AdamWHyper, foreach_lerp_, foreach_norm, fused_adamw_};
pub use grad::{GradHook, accumulate_, on_grad, set_grad, take_grad};
pub use malloc::tune_malloc;
pub use norm::{Norm, group_norm};
pub use settings::{RelaxedGradLayout, relax_grad_layout, set_deterministic};
pub use stream::{current_cuda_stream, set_cuda_device};
pub use upsample::upsample_conv;
