//! Attention on CPUs.
#![allow(unsafe_code)]

use tch::Tensor;

use super::TorchError;
use super::ffi::{self, check, handle, owned};

/// softmax(Q K^T / sqrt(d)) V for `q` `[B, heads, T, d]` and `k`, `v` `[B, heads, S, d]`, with oneDNN's matrix products.
/// The result `[B, heads, T, d]` lies in memory as `[B, T, heads, d]`. `None`: the tensors are not on the CPU, not of
/// float32 or bfloat16 all three, or of odd sizes, or this machine lacks what it needs.
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
