//! Kernels over lists of tensors, which tch does not bind.

use tch::Tensor;

use crate::error::TorchError;
use crate::ffi::{self, check, handle, handles, owned};

/// The constants of AdamW.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWHyper {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Added to the denominator.
    pub eps: f64,
}

/// Takes one AdamW step (Loshchilov and Hutter 2019) of many float32 parameters by libtorch's fused kernel, in place.
///
/// `step` is a float32 scalar: the number of this step, from 1. Gradients are divided by `grad_scale` (float32 scalar)
/// on the way. If `found_inf` (float32 scalar) is 1, nothing is changed; the host does not learn of it.
///
/// # Errors
/// Lists of different lengths, or shapes, strides, kinds or devices that the kernel refuses.
#[allow(clippy::too_many_arguments)]
pub fn fused_adamw_(
    params: &[Tensor],
    grads: &[Tensor],
    exp_avgs: &[Tensor],
    exp_avg_sqs: &[Tensor],
    step: &Tensor,
    hyper: AdamWHyper,
    grad_scale: Option<&Tensor>,
    found_inf: Option<&Tensor>,
) -> Result<(), TorchError> {
    let n = params.len();
    if [grads.len(), exp_avgs.len(), exp_avg_sqs.len()] != [n; 3] {
        return Err(TorchError(format!("AdamW over {n} parameters and {} gradients", grads.len())));
    }
    let (p, g, m, v) = (handles(params), handles(grads), handles(exp_avgs), handles(exp_avg_sqs));
    let optional = |t: Option<&Tensor>| t.map_or(std::ptr::null_mut(), handle);
    // SAFETY: four lists of n handles each that outlive the call; the optional ones may be null.
    unsafe {
        check(ffi::dfx_fused_adamw(
            p.as_ptr(),
            g.as_ptr(),
            m.as_ptr(),
            v.as_ptr(),
            n,
            handle(step),
            hyper.lr,
            hyper.beta1,
            hyper.beta2,
            hyper.weight_decay,
            hyper.eps,
            optional(grad_scale),
            optional(found_inf),
        ))
    }
}

/// Moves each tensor the share `weight` of the way to its end: `t += weight * (end - t)`.
///
/// # Errors
/// Lists of different lengths, or tensors that do not fit each other.
pub fn foreach_lerp_(tensors: &[Tensor], ends: &[Tensor], weight: f64) -> Result<(), TorchError> {
    if tensors.len() != ends.len() {
        return Err(TorchError(format!("lerp of {} tensors to {} ends", tensors.len(), ends.len())));
    }
    let (t, e) = (handles(tensors), handles(ends));
    // SAFETY: two lists of equal length whose handles outlive the call.
    unsafe { check(ffi::dfx_foreach_lerp(t.as_ptr(), e.as_ptr(), t.len(), weight)) }
}

/// Returns the 2-norm of each tensor: a vector as long as the list, on its device.
///
/// # Errors
/// An empty list, or tensors of different devices.
pub fn foreach_norm(tensors: &[Tensor]) -> Result<Tensor, TorchError> {
    let t = handles(tensors);
    let mut out = std::ptr::null_mut();
    // SAFETY: the handles outlive the call; on success `out` is a tensor of our own.
    unsafe {
        check(ffi::dfx_foreach_norm(t.as_ptr(), t.len(), &mut out))?;
        Ok(owned(out))
    }
}
