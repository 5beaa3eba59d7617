//! From a degraded image and tokens to a restored one: DDIM over y_t, its noise averaged over tiles, and
//! clamp(x_LQ - y_0).

use defusion_config::{Arithmetic, DiffusionStage, Prediction, Sampler};
use defusion_imaging::Rng;
use defusion_torch::{TorchError, autocast};
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use crate::tensors::fill;
use defusion_model::diffusion::bands::{band_rows, bands};
use defusion_model::diffusion::prediction;
use defusion_model::diffusion::sampler::{Clip, NoiseBand, ddim};
use defusion_model::diffusion::schedule::Schedule;
use defusion_model::diffusion::tiling::Tiling;
use defusion_model::networks::ForwardOptions;
use defusion_model::networks::defusion::DefusionUnet;

/// Stream of a seed that y_T is drawn from.
const NOISE: u64 = 2;

/// Stream of a seed that the noise of DDIM's steps is drawn from.
const STEP_NOISE: u64 = 3;

/// Values of y_T that are drawn at once, an even number.
const PIECE: usize = 1 << 20;

/// Float32 tensors of an image's size, three channels each, that [`Sampling::restore`] holds at once.
pub(super) const WHOLE_TENSORS: f64 = 3.0 + 1.0 / 3.0;

/// What sampling needs beside the images.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sampling<'a> {
    pub unet: &'a DefusionUnet,
    pub schedule: &'a Schedule,
    pub sampler: &'a Sampler,
    /// What the U-Net predicts.
    pub prediction: Prediction,
    /// What the U-Net computes with. All around it is float32.
    pub arithmetic: Arithmetic,
    /// Tiles that the U-Net sees at once.
    pub batch: usize,
}

impl Sampling<'_> {
    /// The restored images `[B, 3, H, W]` in [-1, 1]. `lq`: x_LQ of the same shape, H and W multiples of what the U-Net's
    /// levels need; `tokens`: `[B, T, embed_dim]`; `seeds`: one an image, of y_T and of the noise that steps add.
    ///
    /// Tensors of the images' size are x_LQ, y_t, which becomes the result, the sum of the tiles' noise, and a third of one
    /// for the sum of their weights ([`WHOLE_TENSORS`]).
    ///
    /// # Errors
    /// A device that does not have the arithmetic.
    pub fn restore(&self, lq: &Tensor, tokens: Option<&Tensor>, seeds: &[u64]) -> Result<Tensor, TorchError> {
        let _guard = tch::no_grad_guard();
        let size = lq.size();
        let device = lq.device();
        let clip = if self.sampler.clip_to_image { Clip::to_image(lq) } else { Clip::Symmetric(2.0) };
        let (tile, stride) = (i64::from(self.sampler.tile), i64::from(self.sampler.tile_stride));
        let tiling = Tiling::new([size[2], size[3]], tile, stride, device);
        // Tiles come corner by corner, each with the whole batch of images.
        let corners = (self.batch / size[0].max(1) as usize).max(1);
        let eps = |y_t: &Tensor, lq: &Tensor, t: i64| {
            let n = y_t.size()[0];
            let timesteps = Tensor::full([n], t, (Kind::Int64, device));
            let tokens = tokens.map(|tokens| tokens.repeat([n / size[0], 1, 1]));
            let output = self.unet.forward(y_t, &timesteps, lq, tokens.as_ref(), &ForwardOptions::EVAL);
            prediction::eps(self.prediction, self.schedule, y_t, t, output.to_kind(Kind::Float))
        };
        // One scope around all calls, so that weights are cast once. What lies between the calls adds and multiplies
        // float32, which autocast leaves alone.
        let y_t = noise(seeds, &size, device);
        let step_noise = |band: NoiseBand| step_noise(seeds, &size, band).to_device(device);
        let restored = autocast(device, self.arithmetic, || {
            ddim(self.schedule, &self.sampler.timesteps, self.sampler.eta, y_t, &clip, step_noise, |y_t, t| {
                tiling.eps(y_t, lq, corners, |y_t, lq| eps(y_t, lq, t))
            })
        })?;
        for (top, rows) in bands(size[2], band_rows(&size)) {
            let mut y0 = restored.narrow(2, top, rows);
            y0.copy_(&(lq.narrow(2, top, rows) - &y0).clamp(-1.0, 1.0));
        }
        Ok(restored)
    }
}

/// Restores crops of one size `[B, 3, H, W]` in [-1, 1] (H and W multiples of what the U-Net's levels need), given the
/// instruction's tokens: what training shows of itself. y_T is drawn from `seed`.
///
/// # Errors
/// A device that does not have the arithmetic.
pub fn restore_batch(
    unet: &DefusionUnet,
    schedule: &Schedule,
    stage: &DiffusionStage,
    arithmetic: Arithmetic,
    lq: &Tensor,
    tokens: Option<&Tensor>,
    seed: u64,
) -> Result<Tensor, TorchError> {
    let size = lq.size();
    let seeds: Vec<u64> = (0..size[0] as u64).map(|row| Rng::new(seed, &[row]).u64()).collect();
    let DiffusionStage { sampler, prediction, .. } = stage;
    let batch = seeds.len();
    Sampling { unet, schedule, sampler, prediction: *prediction, arithmetic, batch }.restore(lq, tokens, &seeds)
}

/// y_T, N(0, 1), one image a seed, `size` = `[B, 3, H, W]`: a function of the seed and the size alone, the same on any
/// device and in any batch.
fn noise(seeds: &[u64], size: &[i64], device: Device) -> Tensor {
    let values = size[1..].iter().product::<i64>() as usize;
    let all = Tensor::empty(size, (Kind::Float, device));
    for (i, &seed) in seeds.iter().enumerate() {
        let mut rng = Rng::new(seed, &[NOISE]);
        let pieces = (0..values).step_by(PIECE).map(|start| normal(&mut rng, PIECE.min(values - start)));
        fill(&all.get(i as i64), pieces);
    }
    all
}

/// Rows of the noise that a step of DDIM adds, N(0, 1), `[B, 3, band.rows, W]` on the CPU: a function of the image's seed,
/// the step, the channel and the row, whatever the batch, the device and the bands.
fn step_noise(seeds: &[u64], size: &[i64], band: NoiseBand) -> Tensor {
    let (channels, rows, width) = (size[1] as usize, band.rows as usize, size[3] as usize);
    let mut values = vec![0.0; seeds.len() * channels * rows * width];
    values.par_chunks_exact_mut(width.max(1)).enumerate().for_each(|(i, row)| {
        let (image, channel, y) = (i / (channels * rows), i / rows % channels, band.top as usize + i % rows);
        let mut rng = Rng::new(seeds[image], &[STEP_NOISE, band.step as u64, channel as u64, y as u64]);
        row.chunks_mut(2).for_each(|pair| pair.copy_from_slice(&rng.normal_pair()[..pair.len()]));
    });
    Tensor::from_slice(&values).view([size[0], size[1], band.rows, size[3]])
}

/// The next `len` numbers of N(0, 1); of the last pair only the first if `len` is odd.
fn normal(rng: &mut Rng, len: usize) -> Vec<f32> {
    let mut values = vec![0.0; len];
    values.chunks_mut(2).for_each(|pair| pair.copy_from_slice(&rng.normal_pair()[..pair.len()]));
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_of_steps_does_not_depend_on_batch_or_bands() {
        let size = [2, 3, 9, 5];
        let whole = step_noise(&[7, 8], &size, NoiseBand { step: 1, top: 0, rows: 9 });
        let alone = step_noise(&[8], &[1, 3, 9, 5], NoiseBand { step: 1, top: 4, rows: 3 });
        assert_eq!(alone, whole.narrow(0, 1, 1).narrow(2, 4, 3));
        assert_ne!(whole, step_noise(&[7, 8], &size, NoiseBand { step: 2, top: 0, rows: 9 }));
        let wide = step_noise(&[1], &[1, 3, 100, 401], NoiseBand { step: 0, top: 0, rows: 100 });
        let (mean, deviation) = (wide.mean(Kind::Double), wide.to_kind(Kind::Double).std(true));
        // 120,300 values: five standard errors.
        assert!(mean.double_value(&[]).abs() < 5.0 / 346.0 && (deviation.double_value(&[]) - 1.0).abs() < 5.0 / 490.0);
    }

    #[test]
    fn y_t_is_what_it_always_was() {
        let (seeds, size) = ([3, 4], [2, 3, 7, 5]);
        let mut expected = Vec::new();
        for seed in seeds {
            let mut rng = Rng::new(seed, &[NOISE]);
            let pairs: Vec<f32> = (0..53).flat_map(|_| rng.normal_pair()).collect();
            expected.extend_from_slice(&pairs[..105]);
        }
        assert_eq!(noise(&seeds, &size, Device::Cpu), Tensor::from_slice(&expected).view(size));
    }
}
