//! Gradients of leaf tensors, and hooks on them.

use std::fmt::Display;

use tch::Tensor;

use crate::error::TorchError;
use crate::ffi::{self, check, closure, handle, owned};

/// Makes `grad` the parameter's `.grad` (an alias, not a copy); `None` leaves it undefined.
///
/// # Errors
/// An exception of libtorch.
pub fn set_grad(parameter: &Tensor, grad: Option<&Tensor>) -> Result<(), TorchError> {
    let grad = grad.map_or(std::ptr::null_mut(), handle);
    // SAFETY: both handles outlive the call; a null gradient is allowed.
    unsafe { check(ffi::dfx_set_grad(handle(parameter), grad)) }
}

/// Takes the parameter's `.grad`, leaving it undefined.
///
/// # Errors
/// An exception of libtorch.
pub fn take_grad(parameter: &Tensor) -> Result<Option<Tensor>, TorchError> {
    let mut out = std::ptr::null_mut();
    // SAFETY: the handle outlives the call; `out` is null or a tensor of our own afterwards.
    unsafe {
        check(ffi::dfx_take_grad(handle(parameter), &mut out))?;
        Ok((!out.is_null()).then(|| owned(out)))
    }
}

/// Adds a scaled gradient in place: `into += scale * grad`, or `into = scale * grad` if it is to be overwritten; in one
/// pass over memory, into `into`'s own strides.
///
/// # Errors
/// Shapes that differ, or an exception of libtorch.
pub fn accumulate_(into: &Tensor, grad: &Tensor, scale: f64, overwrite: bool) -> Result<(), TorchError> {
    if into.size() != grad.size() {
        return Err(TorchError(format!("a gradient of shape {:?} for a place of {:?}", grad.size(), into.size())));
    }
    // SAFETY: both handles outlive the call.
    unsafe { check(ffi::dfx_accumulate(handle(into), handle(grad), scale, overwrite)) }
}

/// A hook on a parameter, removed when dropped.
#[derive(Debug)]
pub struct GradHook {
    parameter: Tensor,
}

/// Calls `f` with the parameter each time a gradient has been accumulated into its `.grad`.
///
/// `f` runs inside backward, on the thread that does so, and with gradients off. It may change `.grad`. An error that
/// it returns, or a panic, ends the backward pass with that message. Gradients of chosen tensors (`run_backward`) do
/// not accumulate, so they call nothing.
///
/// # Errors
/// The parameter has a hook already.
pub fn on_grad<F, E>(parameter: &Tensor, f: F) -> Result<GradHook, TorchError>
where
    F: Fn(&Tensor) -> Result<(), E> + Send + Sync + 'static,
    E: Display,
{
    let call = closure(move |inputs| f(&inputs[0]).map(|()| Vec::new()));
    // SAFETY: the handle outlives the call; the closure is C++'s from here on, on the error path too.
    unsafe { check(ffi::dfx_set_grad_hook(handle(parameter), call))? };
    Ok(GradHook { parameter: parameter.shallow_clone() })
}

impl Drop for GradHook {
    fn drop(&mut self) {
        // SAFETY: the handle outlives the call. A failure would mean that there is no hook to remove.
        let _ = unsafe { check(ffi::dfx_clear_grad_hook(handle(&self.parameter))) };
    }
}
