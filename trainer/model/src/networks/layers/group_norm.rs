//! Group norm, with FiLM and SiLU in the same pass.

use defusion_torch::{self as torch, Norm};
use tch::Tensor;
use tch::nn::Path;

use crate::networks::ops::over_map;

/// Number of groups, the same in all reference implementations.
const GROUPS: i64 = 32;
/// What guided-diffusion adds to the variance.
pub(crate) const ADM_EPS: f64 = 1e-5;
/// What taming-transformers adds to the variance.
pub(crate) const VQGAN_EPS: f64 = 1e-6;

/// GroupNorm with 32 groups.
///
/// Statistics are float32 whatever the activations are: libtorch accumulates them so, and CUDA's autocast runs the
/// whole layer in float32, as guided-diffusion's `GroupNorm32` does. On CPUs, channels-last maps go through one fused
/// function ([`torch::group_norm`]) with what follows.
#[derive(Debug)]
pub(crate) struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl GroupNorm {
    /// Registers `weight` (ones) and `bias` (zeros), both `[channels]`; `eps` is added to the variance.
    pub(crate) fn new(path: Path<'_>, channels: i64, eps: f64) -> Self {
        Self { weight: path.ones("weight", &[channels]), bias: path.zeros("bias", &[channels]), eps }
    }

    /// Normalises `[B, C, H, W]`; the shape stays.
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        self.run(x, None, false)
    }

    /// SiLU of the normalised map.
    pub(crate) fn forward_silu(&self, x: &Tensor) -> Tensor {
        self.run(x, None, true)
    }

    /// The normalised map times `1 + scale`, plus `shift`; then SiLU, if wanted. `film` `[B, 2C]` holds scale, then
    /// shift.
    pub(crate) fn forward_film(&self, x: &Tensor, film: &Tensor, silu: bool) -> Tensor {
        self.run(x, Some(film), silu)
    }

    fn run(&self, x: &Tensor, film: Option<&Tensor>, silu: bool) -> Tensor {
        let norm = Norm { groups: GROUPS, eps: self.eps, film, silu };
        match torch::group_norm(x, &self.weight, &self.bias, norm) {
            Ok(Some(y)) => y,
            Ok(None) => self.unfused(x, film, silu),
            Err(error) => panic!("{error}"),
        }
    }

    fn unfused(&self, x: &Tensor, film: Option<&Tensor>, silu: bool) -> Tensor {
        let mut y = x.group_norm(GROUPS, Some(&self.weight), Some(&self.bias), self.eps, true);
        if let Some(film) = film {
            let parts = over_map(film).chunk(2, 1);
            y = parts[1].addcmul(&y, &(&parts[0] + 1));
        }
        if silu { y.silu() } else { y }
    }
}

impl Clone for GroupNorm {
    fn clone(&self) -> Self {
        Self { weight: self.weight.shallow_clone(), bias: self.bias.shallow_clone(), eps: self.eps }
    }
}
