//! Group norm, FiLM and SiLU in one function.

use tch::Tensor;

use crate::error::TorchError;
use crate::ffi::{self, check, handle, owned};

/// The parameters of [`group_norm`], and what it does besides normalising.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// Number of groups; divides the channels.
    pub groups: i64,
    /// Added to the variance.
    pub eps: f64,
    /// `[B, 2C]`, float32 or bfloat16: what is normalised is multiplied by one plus the first half, and the second half
    /// is added.
    pub film: Option<&'a Tensor>,
    /// SiLU at the end.
    pub silu: bool,
}

/// Normalises `x` `[B, C, H, W]` by groups of channels (group norm, Wu and He 2018) with float32 `weight` and `bias`
/// `[C]`, then FiLM, then SiLU, in two passes over memory, and two in backward. Statistics are float32 or better, the
/// result has `x`'s kind and layout; for backward nothing but the input is kept. `None` if `x` is not a channels-last
/// CPU tensor of float32 or bfloat16.
///
/// # Errors
/// Shapes or kinds that do not fit `x`.
pub fn group_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, norm: Norm<'_>) -> Result<Option<Tensor>, TorchError> {
    let film = norm.film.map_or(std::ptr::null_mut(), handle);
    let mut out = std::ptr::null_mut();
    // SAFETY: the handles outlive the calls; film may be null; on success `out` is a tensor of our own.
    unsafe {
        if !ffi::dfx_norm_takes(handle(x)) {
            return Ok(None);
        }
        let (w, b) = (handle(weight), handle(bias));
        check(ffi::dfx_norm(handle(x), w, b, film, norm.groups, norm.eps, norm.silu, &mut out))?;
        Ok(Some(owned(out)))
    }
}
