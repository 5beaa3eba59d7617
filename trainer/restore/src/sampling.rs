//! From a degraded image and tokens to a restored one: DDIM over y_t, its noise averaged over tiles, and
//! clamp(x_LQ - y_0).

use defusion_config::Sampler;
use defusion_imaging::Rng;
use tch::{Device, Kind, Tensor};

use defusion_model::diffusion::sampler::{Clip, ddim};
use defusion_model::diffusion::schedule::Schedule;
use defusion_model::diffusion::tiling::Tiling;
use defusion_model::networks::ForwardOptions;
use defusion_model::networks::defusion::DefusionUnet;

/// Stream of a seed that y_T is drawn from.
const NOISE: u64 = 2;

/// What sampling needs beside the images.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sampling<'a> {
    pub unet: &'a DefusionUnet,
    pub schedule: &'a Schedule,
    pub sampler: &'a Sampler,
    /// Tiles that the U-Net sees at once.
    pub batch: usize,
}

impl Sampling<'_> {
    /// The restored images `[B, 3, H, W]` in [-1, 1]. `lq`: x_LQ of the same shape, H and W multiples of what the U-Net's
    /// levels need; `tokens`: `[B, T, embed_dim]`; `y_t`: y_T.
    pub fn restore(&self, lq: &Tensor, tokens: Option<&Tensor>, y_t: &Tensor) -> Tensor {
        let _guard = tch::no_grad_guard();
        let size = lq.size();
        let device = lq.device();
        let clip = if self.sampler.clip_to_image { Clip::to_image(lq) } else { Clip::Symmetric(2.0) };
        let (tile, stride) = (i64::from(self.sampler.tile), i64::from(self.sampler.tile_stride));
        let tiling = Tiling::new([size[2], size[3]], tile, stride, device);
        // Tiles come corner by corner, each with the whole batch of images.
        let corners = (self.batch / size[0].max(1) as usize).max(1);
        let y0 = ddim(self.schedule, &self.sampler.timesteps, self.sampler.eta, y_t, &clip, |y_t, t| {
            tiling.eps(y_t, lq, corners, |y_t, lq| {
                let n = y_t.size()[0];
                let timesteps = Tensor::full([n], t, (Kind::Int64, device));
                let tokens = tokens.map(|tokens| tokens.repeat([n / size[0], 1, 1]));
                self.unet.forward(y_t, &timesteps, lq, tokens.as_ref(), &ForwardOptions::EVAL)
            })
        });
        (lq - y0).clamp(-1.0, 1.0)
    }
}

/// Restores crops of one size `[B, 3, H, W]` in [-1, 1] (H and W multiples of what the U-Net's levels need), given the
/// instruction's tokens: what training shows of itself. y_T is drawn from `seed`.
pub fn restore_batch(
    unet: &DefusionUnet,
    schedule: &Schedule,
    sampler: &Sampler,
    lq: &Tensor,
    tokens: Option<&Tensor>,
    seed: u64,
) -> Tensor {
    let size = lq.size();
    let seeds: Vec<u64> = (0..size[0] as u64).map(|row| Rng::new(seed, &[row]).u64()).collect();
    let y_t = noise(&seeds, &size, lq.device());
    Sampling { unet, schedule, sampler, batch: seeds.len() }.restore(lq, tokens, &y_t)
}

/// y_T, N(0, 1), one image a seed, `size` = `[B, 3, H, W]`: a function of the seed and the size alone, the same on any
/// device and in any batch.
pub(super) fn noise(seeds: &[u64], size: &[i64], device: Device) -> Tensor {
    let values = size[1..].iter().product::<i64>() as usize;
    let mut all = Vec::with_capacity(seeds.len() * values);
    for (i, &seed) in seeds.iter().enumerate() {
        let mut rng = Rng::new(seed, &[NOISE]);
        while all.len() < (i + 1) * values {
            all.extend(rng.normal_pair());
        }
        all.truncate((i + 1) * values);
    }
    Tensor::from_slice(&all).view(size).to_device(device)
}
