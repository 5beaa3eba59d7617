//! What the network is trained to predict, and how the noise follows from it.
//!
//! With signal `a = sqrt(alphas_cumprod)` and noise `s = sqrt(1 - alphas_cumprod)`, `y_t = a y_0 + s eps`. A network that
//! predicts eps is wrong in y_0 by s / a times its error: 157 at t = 999 of the linear schedule. One that predicts y_0 is
//! not, and one that predicts `v = a eps - s y_0` (Salimans and Ho 2022) is wrong by its error times s.

use defusion_config::Prediction;
use tch::{Device, Kind, Tensor};

use super::schedule::Schedule;

/// Returns what the network shall give for a batch: of `y0` and `eps` `[B, C, H, W]`, and one timestep a sample in `t`.
///
/// # Panics
/// If a timestep is none of `schedule`.
pub fn target(prediction: Prediction, schedule: &Schedule, y0: &Tensor, t: &[i64], eps: &Tensor) -> Tensor {
    match prediction {
        Prediction::Eps => eps.shallow_clone(),
        Prediction::Y0 => y0.shallow_clone(),
        Prediction::V => {
            let (signal, sigma): (Vec<f64>, Vec<f64>) = t.iter().map(|&t| schedule.signal_and_noise(t)).unzip();
            eps * column(&signal, y0.device()) - y0 * column(&sigma, y0.device())
        }
    }
}

/// Returns the noise eps in `y_t` that the network's output for timestep `t` amounts to, both float32 `[B, C, H, W]`.
///
/// # Panics
/// If `t` is no timestep of `schedule`.
pub fn eps(prediction: Prediction, schedule: &Schedule, y_t: &Tensor, t: i64, output: Tensor) -> Tensor {
    let (signal, sigma) = schedule.signal_and_noise(t);
    match prediction {
        Prediction::Eps => output,
        Prediction::Y0 => (y_t - output * signal) / sigma,
        Prediction::V => y_t * sigma + output * signal,
    }
}

/// Returns the samples' loss weights `[B, 1, 1, 1]`, float32, of min-SNR weighting with `gamma` (Hang et al. 2023,
/// section 3.4, which weighs the error in y_0 by min(SNR, gamma)); `None` if `gamma` is 0: all weigh alike.
///
/// # Panics
/// If a timestep is none of `schedule`.
pub fn loss_weights(
    prediction: Prediction,
    schedule: &Schedule,
    t: &[i64],
    gamma: f64,
    device: Device,
) -> Option<Tensor> {
    if gamma <= 0.0 {
        return None;
    }
    let weight = |&t: &i64| {
        let (signal, sigma) = schedule.signal_and_noise(t);
        let snr = (signal / sigma).powi(2);
        snr.min(gamma)
            / match prediction {
                Prediction::Eps => snr,
                Prediction::V => snr + 1.0,
                Prediction::Y0 => 1.0,
            }
    };
    Some(column(&t.iter().map(weight).collect::<Vec<_>>(), device))
}

/// One factor a sample, rounded once from float64.
fn column(values: &[f64], device: Device) -> Tensor {
    Tensor::from_slice(values).to_kind(Kind::Float).to_device(device).reshape([values.len() as i64, 1, 1, 1])
}

#[cfg(test)]
mod tests {
    use defusion_config::BetaSchedule;

    use super::super::objective::q_sample;
    use super::*;

    const ALL: [Prediction; 3] = [Prediction::Eps, Prediction::V, Prediction::Y0];

    fn batch() -> (Schedule, Tensor, Tensor) {
        let options = (Kind::Float, Device::Cpu);
        let (y0, eps) = (Tensor::rand([3, 3, 8, 8], options) * 4.0 - 2.0, Tensor::randn([3, 3, 8, 8], options));
        (Schedule::new(BetaSchedule::Linear, 1000), y0, eps)
    }

    #[test]
    fn the_noise_follows_from_each_prediction() {
        let (schedule, y0, noise) = batch();
        for prediction in ALL {
            for t in [0, 500, 999] {
                let y_t = q_sample(&schedule, &y0, &[t; 3], &noise);
                let output = target(prediction, &schedule, &y0, &[t; 3], &noise);
                let error = (eps(prediction, &schedule, &y_t, t, output) - &noise).abs().max().double_value(&[]);
                // At t = 0 there is a hundredth of noise in y_t: rounding of y_0 counts a hundred times.
                assert!(error < 1e-4, "{prediction:?} at {t}: {error}");
            }
        }
    }

    #[test]
    fn the_weighted_losses_of_one_error_in_y0_are_equal() {
        let (schedule, y0, noise) = batch();
        let t = [50, 400, 950];
        let y_t = q_sample(&schedule, &y0, &t, &noise);
        // The same wrong y_0, said in three ways.
        let wrong = &y0 + 0.1;
        let losses: Vec<Vec<f64>> = ALL
            .iter()
            .map(|&prediction| {
                let eps_of_wrong = super::super::objective::eps_from_y0(&schedule, &y_t, &t, &wrong);
                let error = target(prediction, &schedule, &y0, &t, &noise)
                    - target(prediction, &schedule, &wrong, &t, &eps_of_wrong);
                let squares = error.square().mean_dim([1i64, 2, 3].as_slice(), true, Kind::Double);
                let weights = loss_weights(prediction, &schedule, &t, 5.0, Device::Cpu).unwrap();
                Vec::<f64>::try_from((squares * weights).flatten(0, -1)).unwrap()
            })
            .collect();
        for (sample, &t) in t.iter().enumerate() {
            let (signal, sigma) = schedule.signal_and_noise(t);
            let want = 0.01 * (signal / sigma).powi(2).min(5.0);
            for loss in &losses {
                assert!((loss[sample] / want - 1.0).abs() < 1e-3, "{t}: {} {want}", loss[sample]);
            }
        }
    }

    #[test]
    fn no_gamma_is_no_weight() {
        let (schedule, ..) = batch();
        assert!(loss_weights(Prediction::V, &schedule, &[3], 0.0, Device::Cpu).is_none());
    }
}
