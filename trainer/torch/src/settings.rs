//! Switches of libtorch for the process and for a thread.

use crate::error::TorchError;
use crate::ffi::{self, check};

/// Allows deterministic kernels only, so that operations which have none fail; cuDNN's autotuning goes off with it.
///
/// # Errors
/// An exception of libtorch.
pub fn set_deterministic(on: bool) -> Result<(), TorchError> {
    // SAFETY: a plain flag.
    unsafe { check(ffi::dfx_set_deterministic(on)) }
}

/// Keeps the switch of [`relax_grad_layout`] on until it is dropped.
#[derive(Debug)]
pub struct RelaxedGradLayout(());

/// Lets autograd keep a gradient in the memory format that it was computed in, on this thread and in the backward
/// passes that it starts: for those who copy it into place anyway, as data parallelism does.
pub fn relax_grad_layout() -> RelaxedGradLayout {
    // SAFETY: sets a thread-local flag.
    unsafe { ffi::dfx_set_grad_layout_enforcement(false) };
    RelaxedGradLayout(())
}

impl Drop for RelaxedGradLayout {
    fn drop(&mut self) {
        // SAFETY: sets a thread-local flag.
        unsafe { ffi::dfx_set_grad_layout_enforcement(true) };
    }
}
