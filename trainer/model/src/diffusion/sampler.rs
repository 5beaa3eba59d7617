//! DDIM (Song et al. 2021) over explicit timesteps, with y_0 clipped and the noise recomputed from it.
//!
//! Predicting y_0 from eps multiplies the network's error by sigma / alpha: 157 at t = 999 of the linear schedule, 17
//! at 750. Clipping y_0 to what is possible, and recomputing eps from the clipped y_0 (as guided-diffusion does), is
//! what makes four calls enough.

use tch::Tensor;

use super::bands::{band_rows, bands};
use super::schedule::Schedule;

/// What y_0 is clipped to at every step.
#[derive(Debug)]
pub enum Clip {
    /// Nothing.
    None,
    /// [-limit, limit]: 2 is what a degradation can be at most; 1 is what guided-diffusion uses for images.
    Symmetric(f64),
    /// [x_LQ - 1, x_LQ + 1] for every pixel, of this x_LQ `[B, C, H, W]`.
    Image(Tensor),
}

impl Clip {
    /// [x_LQ - 1, x_LQ + 1]: the restored image `x_LQ - y_0` stays in [-1, 1].
    pub fn to_image(lq: &Tensor) -> Self {
        Self::Image(lq.shallow_clone())
    }

    /// Clips the rows of `y0` that begin at row `top` of the image.
    fn apply(&self, y0: Tensor, top: i64) -> Tensor {
        match self {
            Self::None => y0,
            Self::Symmetric(limit) => y0.clamp(-*limit, *limit),
            Self::Image(lq) => {
                let lq = lq.narrow(2, top, y0.size()[2]);
                y0.clamp_tensor(Some(&lq - 1), Some(lq + 1))
            }
        }
    }
}

/// A part of the noise that steps with `eta` above 0 add: rows of all images and channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoiseBand {
    /// Index of the step in the list of timesteps.
    pub step: usize,
    /// First row.
    pub top: i64,
    /// Number of rows.
    pub rows: i64,
}

/// Samples y_0 `[B, C, H, W]` by DDIM, without gradient.
///
/// `timesteps` fall from noisy to clean, and the network is given them as they are; `y_t` `[B, C, H, W]` is y_T, from
/// N(0, 1), at the first, and is overwritten. After the last one y_0 is returned as predicted. `eta` 0 is deterministic; at
/// 1 noise is added as DDPM does: `noise(band)` `[B, C, band.rows, W]` from N(0, 1), asked for band after band.
/// `eps(y_t, t)` is the network's prediction of the noise, of y_t's shape.
///
/// Beside y_t and the prediction there is no tensor of the image's size: what lies between the network's calls is computed
/// in bands of rows.
///
/// # Panics
/// If a timestep is none of `schedule`.
pub fn ddim(
    schedule: &Schedule,
    timesteps: &[i64],
    eta: f64,
    y_t: Tensor,
    clip: &Clip,
    noise: impl FnMut(NoiseBand) -> Tensor,
    eps: impl FnMut(&Tensor, i64) -> Tensor,
) -> Tensor {
    in_bands(band_rows(&y_t.size()), Steps { schedule, timesteps, eta }, y_t, clip, noise, eps)
}

struct Steps<'a> {
    schedule: &'a Schedule,
    timesteps: &'a [i64],
    eta: f64,
}

fn in_bands(
    rows: i64,
    Steps { schedule, timesteps, eta }: Steps<'_>,
    y: Tensor,
    clip: &Clip,
    mut noise: impl FnMut(NoiseBand) -> Tensor,
    mut eps: impl FnMut(&Tensor, i64) -> Tensor,
) -> Tensor {
    let _guard = tch::no_grad_guard();
    let height = y.size()[2];
    for (step, &t) in timesteps.iter().enumerate() {
        let (signal, sigma) = schedule.signal_and_noise(t);
        let next = timesteps.get(step + 1).map(|&next| schedule.signal_and_noise(next));
        let predicted = eps(&y, t);
        for (top, rows) in bands(height, rows) {
            let mut y = y.narrow(2, top, rows);
            let y0 = clip.apply((&y - predicted.narrow(2, top, rows) * sigma) / signal, top);
            let Some((next_signal, next_sigma)) = next else {
                y.copy_(&y0);
                continue;
            };
            let eps = (&y - &y0 * signal) / sigma;
            let added = eta * next_sigma / sigma * (1.0 - (signal / next_signal).powi(2)).max(0.0).sqrt();
            y.copy_(&(y0 * next_signal + eps * (next_sigma.powi(2) - added.powi(2)).max(0.0).sqrt()));
            if added > 0.0 {
                y += noise(NoiseBand { step, top, rows }) * added;
            }
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use defusion_config::BetaSchedule;
    use tch::{Device, Kind};

    use super::*;

    fn noise() -> Tensor {
        Tensor::randn([1, 3, 200, 200], (Kind::Float, Device::Cpu))
    }

    /// Other noise at every call.
    fn fresh([b, c, _, w]: [i64; 4]) -> impl Fn(NoiseBand) -> Tensor {
        move |band| Tensor::randn([b, c, band.rows, w], (Kind::Float, Device::Cpu))
    }

    /// Samples from `y_t` with a network that knows y_0 = 0.3, and gives y at each call.
    fn trace(y_t: &Tensor, eta: f64) -> (Tensor, Vec<Tensor>) {
        let schedule = Schedule::new(BetaSchedule::Linear, 1000);
        let mut seen = Vec::new();
        let eps = |y: &Tensor, t| {
            seen.push(y.copy());
            let (signal, sigma) = schedule.signal_and_noise(t);
            (y - 0.3 * signal) / sigma
        };
        let y0 = ddim(&schedule, &[999, 600, 200], eta, y_t.copy(), &Clip::None, fresh([1, 3, 200, 200]), eps);
        (y0, seen)
    }

    #[test]
    fn every_eta_keeps_the_marginals() {
        let schedule = Schedule::new(BetaSchedule::Linear, 1000);
        for eta in [0.0, 0.5, 1.0] {
            let (y0, seen) = trace(&noise(), eta);
            assert!((y0 - 0.3).abs().max().double_value(&[]) < 1e-5);
            for (y, t) in seen.iter().zip([999, 600, 200]) {
                let (signal, sigma) = schedule.signal_and_noise(t);
                let mean = y.mean(Kind::Double).double_value(&[]);
                let std = y.to_kind(Kind::Double).std(true).double_value(&[]);
                // 120,000 values: five standard errors.
                assert!((mean - 0.3 * signal).abs() < 5.0 * sigma / 346.0, "mean {mean} at {t}, eta {eta}");
                assert!((std / sigma - 1.0).abs() < 5.0 / 489.0, "std {std} at {t}, eta {eta}");
            }
        }
    }

    #[test]
    fn only_eta_above_zero_draws_noise() {
        let y_t = noise();
        let ends = |eta| trace(&y_t, eta).1.pop().unwrap();
        assert_eq!(ends(0.0), ends(0.0));
        assert!((ends(1.0) - ends(0.0)).abs().max().double_value(&[]) > 0.1);
    }

    #[test]
    fn clipping_to_the_image_keeps_the_restored_one_in_range() {
        let schedule = Schedule::new(BetaSchedule::Linear, 1000);
        let lq = (Tensor::arange(3 * 16, (Kind::Float, Device::Cpu)) * 0.9).sin().reshape([1, 3, 4, 4]);
        let y_t = lq.flip([3]);
        let mut given = Vec::new();
        let eps = |y: &Tensor, t| {
            given.push(t);
            -(y * 3)
        };
        let y0 = ddim(&schedule, &[900, 500, 100], 0.0, y_t, &Clip::to_image(&lq), fresh([1, 3, 4, 4]), eps);
        assert_eq!(given, [900, 500, 100]);
        let restored: Tensor = &lq - &y0;
        assert!(restored.max().double_value(&[]) <= 1.0 + 1e-6 && restored.min().double_value(&[]) >= -1.0 - 1e-6);
        assert!(y0.abs().max().double_value(&[]) > 1.0, "the clip was active");
    }

    /// The steps as the papers write them, on whole tensors.
    fn whole(schedule: &Schedule, timesteps: &[i64], eta: f64, y_t: &Tensor, lq: &Tensor, noise: &Tensor) -> Tensor {
        let mut y = y_t.copy();
        for (i, &t) in timesteps.iter().enumerate() {
            let (signal, sigma) = schedule.signal_and_noise(t);
            let y0 = ((&y - network(&y, t) * sigma) / signal).clamp_tensor(Some(lq - 1), Some(lq + 1));
            let Some(&next) = timesteps.get(i + 1) else { return y0 };
            let (next_signal, next_sigma) = schedule.signal_and_noise(next);
            let eps = (&y - &y0 * signal) / sigma;
            let added = eta * next_sigma / sigma * (1.0 - (signal / next_signal).powi(2)).max(0.0).sqrt();
            y = y0 * next_signal + eps * (next_sigma.powi(2) - added.powi(2)).max(0.0).sqrt();
            if added > 0.0 {
                y += noise.get(i as i64) * added;
            }
        }
        y
    }

    fn network(y: &Tensor, t: i64) -> Tensor {
        (y * 0.7 + t as f64 * 1e-3).sin() + y.roll([1, 3], [2, 3]) * 0.2
    }

    #[test]
    fn bands_change_no_bit() {
        let schedule = Schedule::new(BetaSchedule::Linear, 1000);
        let timesteps = [800, 600, 400, 200];
        let size = [2, 3, 61, 83];
        let (y_t, lq) =
            (Tensor::randn(size, (Kind::Float, Device::Cpu)), Tensor::rand(size, (Kind::Float, Device::Cpu)));
        let noise = Tensor::randn([3, 2, 3, 61, 83], (Kind::Float, Device::Cpu));
        for eta in [0.0, 1.0] {
            let expected = whole(&schedule, &timesteps, eta, &y_t, &lq, &noise);
            for rows in [1, 7, 61, 100] {
                let steps = Steps { schedule: &schedule, timesteps: &timesteps, eta };
                let part = |band: NoiseBand| noise.get(band.step as i64).narrow(2, band.top, band.rows);
                let y0 = in_bands(rows, steps, y_t.copy(), &Clip::to_image(&lq), part, network);
                assert_eq!(y0, expected, "eta {eta}, {rows} rows");
            }
        }
    }
}
