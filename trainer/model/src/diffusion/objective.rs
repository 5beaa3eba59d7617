//! The training objective's arithmetic (Defusion, Sec. 3.2, Eq. 11; Ho et al. 2020).

use tch::{Device, Kind, Tensor};

use super::schedule::Schedule;

/// Noises a batch: returns y_t `[B, C, H, W]` for `y0` and `noise`, from N(0, 1), of that shape, and one timestep a
/// sample in `t`.
///
/// Timesteps are host values, so that nothing waits for the device.
///
/// # Panics
/// If a timestep is none of `schedule`.
pub fn q_sample(schedule: &Schedule, y0: &Tensor, t: &[i64], noise: &Tensor) -> Tensor {
    let (signal, sigma) = factors(schedule, t, y0.device());
    y0 * signal + noise * sigma
}

/// Returns y_0 from y_t and its noise `eps`, all `[B, C, H, W]`.
///
/// # Panics
/// If a timestep is none of `schedule`.
pub fn y0_from_eps(schedule: &Schedule, y_t: &Tensor, t: &[i64], eps: &Tensor) -> Tensor {
    let (signal, sigma) = factors(schedule, t, y_t.device());
    (y_t - eps * sigma) / signal
}

/// Returns the noise in y_t, given y_0, all `[B, C, H, W]`.
///
/// # Panics
/// If a timestep is none of `schedule`.
pub fn eps_from_y0(schedule: &Schedule, y_t: &Tensor, t: &[i64], y0: &Tensor) -> Tensor {
    let (signal, sigma) = factors(schedule, t, y_t.device());
    (y_t - y0 * signal) / sigma
}

/// Factors of y_0 and of the noise, `[B, 1, 1, 1]`, rounded once from float64.
fn factors(schedule: &Schedule, t: &[i64], device: Device) -> (Tensor, Tensor) {
    let (signal, sigma): (Vec<f64>, Vec<f64>) = t.iter().map(|&t| schedule.signal_and_noise(t)).unzip();
    let column = |values: Vec<f64>| {
        Tensor::from_slice(&values).to_kind(Kind::Float).to_device(device).reshape([t.len() as i64, 1, 1, 1])
    };
    (column(signal), column(sigma))
}
