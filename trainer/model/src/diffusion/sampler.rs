//! DDIM (Song et al. 2021) over explicit timesteps, with y_0 clipped and the noise recomputed from it.
//!
//! Predicting y_0 from eps multiplies the network's error by sigma / alpha: 157 at t = 999 of the linear schedule, 17
//! at 750. Clipping y_0 to what is possible, and recomputing eps from the clipped y_0 (as guided-diffusion does), is
//! what makes four calls enough.

use tch::Tensor;

use super::schedule::Schedule;

/// What y_0 is clipped to at every step.
#[derive(Debug)]
pub enum Clip {
    /// Nothing.
    None,
    /// [-limit, limit]: 2 is what a degradation can be at most; 1 is what guided-diffusion uses for images.
    Symmetric(f64),
    /// `[low, high]` for every pixel.
    PerPixel {
        /// Least value, of a shape that broadcasts to y's.
        low: Tensor,
        /// Greatest value, of a shape that broadcasts to y's.
        high: Tensor,
    },
}

impl Clip {
    /// [x_LQ - 1, x_LQ + 1]: the restored image `x_LQ - y_0` stays in [-1, 1].
    pub fn to_image(lq: &Tensor) -> Self {
        Self::PerPixel { low: lq - 1, high: lq + 1 }
    }

    fn apply(&self, y0: Tensor) -> Tensor {
        match self {
            Self::None => y0,
            Self::Symmetric(limit) => y0.clamp(-*limit, *limit),
            Self::PerPixel { low, high } => y0.clamp_tensor(Some(low), Some(high)),
        }
    }
}

/// Samples y_0 `[B, C, H, W]` by DDIM, without gradient.
///
/// `timesteps` fall from noisy to clean, and the network is given them as they are; `y_t` `[B, C, H, W]` is y_T, from
/// N(0, 1), at the first. After the last one y_0 is returned as predicted. `eta` 0 is deterministic; at 1 noise is
/// added as DDPM does, from libtorch's generator. `eps(y_t, t)` is the network's prediction of the noise, of y_t's
/// shape.
///
/// # Panics
/// If a timestep is none of `schedule`.
pub fn ddim(
    schedule: &Schedule,
    timesteps: &[i64],
    eta: f64,
    y_t: &Tensor,
    clip: &Clip,
    mut eps: impl FnMut(&Tensor, i64) -> Tensor,
) -> Tensor {
    let _guard = tch::no_grad_guard();
    let mut y = y_t.shallow_clone();
    for (i, &t) in timesteps.iter().enumerate() {
        let (signal, sigma) = schedule.signal_and_noise(t);
        let y0 = clip.apply((&y - eps(&y, t) * sigma) / signal);
        let Some(&next) = timesteps.get(i + 1) else { return y0 };
        let (next_signal, next_sigma) = schedule.signal_and_noise(next);
        let eps = (&y - &y0 * signal) / sigma;
        let added = eta * next_sigma / sigma * (1.0 - (signal / next_signal).powi(2)).max(0.0).sqrt();
        y = y0 * next_signal + eps * (next_sigma.powi(2) - added.powi(2)).max(0.0).sqrt();
        if added > 0.0 {
            y += y.randn_like() * added;
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

    /// Samples from `y_t` with a network that knows y_0 = 0.3, and gives y at each call.
    fn trace(y_t: &Tensor, eta: f64) -> (Tensor, Vec<Tensor>) {
        let schedule = Schedule::new(BetaSchedule::Linear, 1000);
        let mut seen = Vec::new();
        let y0 = ddim(&schedule, &[999, 600, 200], eta, y_t, &Clip::None, |y, t| {
            seen.push(y.copy());
            let (signal, sigma) = schedule.signal_and_noise(t);
            (y - 0.3 * signal) / sigma
        });
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
        let y0 = ddim(&schedule, &[900, 500, 100], 0.0, &y_t, &Clip::to_image(&lq), |y, t| {
            given.push(t);
            -(y * 3)
        });
        assert_eq!(given, [900, 500, 100]);
        let restored: Tensor = &lq - &y0;
        assert!(restored.max().double_value(&[]) <= 1.0 + 1e-6 && restored.min().double_value(&[]) >= -1.0 - 1e-6);
        assert!(y0.abs().max().double_value(&[]) > 1.0, "the clip was active");
    }
}
