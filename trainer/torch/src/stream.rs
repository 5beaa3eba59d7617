//! CUDA's device and streams, as libtorch has them.

use std::ffi::{c_int, c_void};

use crate::error::TorchError;
use crate::ffi::{self, check};

/// Makes a CUDA device the calling thread's current one.
///
/// # Errors
/// A libtorch without CUDA, or no such device.
pub fn set_cuda_device(device: usize) -> Result<(), TorchError> {
    // SAFETY: a plain integer.
    unsafe { check(ffi::dfx_set_device(device as c_int)) }
}

/// Returns the `cudaStream_t` that libtorch works on in the calling thread; null is CUDA's default stream. Streams of
/// libtorch are never destroyed.
///
/// # Errors
/// A libtorch without CUDA, or no such device.
pub fn current_cuda_stream(device: usize) -> Result<*mut c_void, TorchError> {
    let mut native = std::ptr::null_mut();
    // SAFETY: a valid pointer to a pointer.
    unsafe { check(ffi::dfx_current_stream(device as c_int, &mut native))? };
    Ok(native)
}
