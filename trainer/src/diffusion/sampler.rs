//! DDIM over explicit timesteps, with y_0 clipped and the noise recomputed from it.
//!
//! Predicting y_0 from eps multiplies the network's error by sigma / alpha: 157 at t = 999 of the linear schedule, 17 at
//! 750. Clipping y_0 to what is possible, and recomputing eps from the clipped y_0 (as guided-diffusion does), is what makes
//! four calls enough.

use tch::Tensor;

use super::schedule::Schedule;

/// What y_0 is clipped to at every step.
#[derive(Debug)]
pub enum Clip {
    /// Nothing.
    None,
    /// [-limit, limit]: 2 is what a degradation can be at most; 1 is what guided-diffusion uses for pictures.
    Symmetric(f64),
    /// `[low, high]` for every pixel.
    PerPixel {
        /// Least value, broadcast to y.
        low: Tensor,
        /// Greatest value.
        high: Tensor,
    },
}

impl Clip {
    /// [x_LQ - 1, x_LQ + 1]: the restored picture `x_LQ - y_0` stays in [-1, 1].
    pub fn to_picture(lq: &Tensor) -> Self {
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

/// Samples y_0 by DDIM, without gradient.
///
/// `timesteps` fall from noisy to clean, and the network is given them as they are; `y_t` is y_T, N(0, 1), at the first.
/// After the last one y_0 is returned as predicted. `eta` 0 is deterministic; at 1 noise is added as DDPM does, from
/// libtorch's generator. `eps(y_t, t)` is the network's prediction of the noise.
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
