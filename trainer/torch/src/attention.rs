//! Attention on CPUs.

use tch::Tensor;

use crate::error::TorchError;
use crate::ffi::{self, check, handle, owned};

/// Computes softmax(Q K^T / sqrt(d)) V for `q` `[B, heads, T, d]` and `k`, `v` `[B, heads, S, d]`, with oneDNN's matrix
/// products. The result `[B, heads, T, d]` lies in memory as `[B, T, heads, d]`. `None` if the tensors are not on the
/// CPU, not all three of float32 or of bfloat16, or of odd sizes, or if this machine lacks what it needs.
///
/// # Errors
/// Shapes that do not fit each other.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Option<Tensor>, TorchError> {
    let mut out = std::ptr::null_mut();
    // SAFETY: the handles outlive the calls; on success `out` is a tensor of our own.
    unsafe {
        if !ffi::dfx_attention_takes(handle(q), handle(k), handle(v)) {
            return Ok(None);
        }
        check(ffi::dfx_attention(handle(q), handle(k), handle(v), &mut out))?;
        Ok(Some(owned(out)))
    }
}
