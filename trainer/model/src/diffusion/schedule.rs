//! Noise schedules of guided-diffusion (`get_named_beta_schedule`), in float64.

use std::f64::consts::FRAC_PI_2;

use defusion_config::BetaSchedule;

/// How much noise there is at each timestep: `y_t = sqrt(alphas_cumprod[t]) y_0 + sqrt(1 - alphas_cumprod[t]) eps`.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    betas: Vec<f64>,
    alphas_cumprod: Vec<f64>,
}

impl Schedule {
    /// Computes a schedule of `timesteps` steps (at least 1; 1000 as a rule). Betas of the linear one are scaled by
    /// 1000 / `timesteps`.
    pub fn new(kind: BetaSchedule, timesteps: i64) -> Self {
        let n = timesteps.max(1) as usize;
        let betas: Vec<f64> = match kind {
            BetaSchedule::Linear => {
                let scale = 1000.0 / n as f64;
                let (first, last) = (scale * 1e-4, scale * 0.02);
                let step = (last - first) / (n.max(2) - 1) as f64;
                (0..n).map(|i| (first + step * i as f64).min(MAX_BETA)).collect()
            }
            BetaSchedule::Cosine => {
                let at = |i: usize| alpha_bar(i as f64 / n as f64);
                (0..n).map(|i| (1.0 - at(i + 1) / at(i)).min(MAX_BETA)).collect()
            }
        };
        let alphas_cumprod = betas
            .iter()
            .scan(1.0, |product, beta| {
                *product *= 1.0 - beta;
                Some(*product)
            })
            .collect();
        Self { betas, alphas_cumprod }
    }

    /// Number of timesteps; they count from 0.
    pub fn timesteps(&self) -> i64 {
        self.betas.len() as i64
    }

    /// The beta of every timestep, in (0, 1).
    pub fn betas(&self) -> &[f64] {
        &self.betas
    }

    /// The running product of 1 - beta: the signal's power at every timestep, in (0, 1).
    pub fn alphas_cumprod(&self) -> &[f64] {
        &self.alphas_cumprod
    }

    /// The factors of y_0 and of the noise in y_t: `sqrt(alphas_cumprod[t])` and `sqrt(1 - alphas_cumprod[t])`.
    ///
    /// # Panics
    /// If `t` is no timestep; configurations are checked for that when they are loaded.
    pub fn signal_and_noise(&self, t: i64) -> (f64, f64) {
        let alpha_bar = self.alphas_cumprod[t as usize];
        (alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt())
    }
}

/// Largest beta of the cosine schedule (guided-diffusion's `max_beta`), which otherwise ends in a singularity.
const MAX_BETA: f64 = 0.999;

/// The cosine schedule's signal power at time `t` in [0, 1] (Nichol and Dhariwal 2021).
fn alpha_bar(t: f64) -> f64 {
    ((t + 0.008) / 1.008 * FRAC_PI_2).cos().powi(2)
}
