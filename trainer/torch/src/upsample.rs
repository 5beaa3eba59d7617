//! A convolution over an enlarged map.

use tch::Tensor;

use crate::error::TorchError;
use crate::ffi::{self, check, handle, owned};

/// Convolves `x` `[B, I, H, W]`, enlarged by 2 (nearest neighbour), with `weight` `[O, I, 3, 3]` and `bias` `[O]` and a
/// padding of 1: `[B, O, 2H, 2W]`, channels-last, on the CPU. The enlarged map is never made, and 4/9 of the operations
/// are enough.
///
/// # Errors
/// Shapes that do not fit, or tensors that are not on the CPU.
pub fn upsample_conv(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor, TorchError> {
    let bias = bias.map_or(std::ptr::null_mut(), handle);
    let mut out = std::ptr::null_mut();
    // SAFETY: the handles outlive the call; bias may be null; on success `out` is a tensor of our own.
    unsafe {
        check(ffi::dfx_upsample_conv(handle(x), handle(weight), bias, &mut out))?;
        Ok(owned(out))
    }
}
