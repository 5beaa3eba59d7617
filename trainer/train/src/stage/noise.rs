//! The randomness of a training sample that lives on the device: its timestep and its noise.

use defusion_imaging::Rng;
use tch::{Device, Kind, Tensor};

/// Separates these draws from those of the sampling plan.
const PURPOSE: u64 = 0x6e_6f69_7365;

/// `len` timesteps in 0..`steps` and standard normal noise `[len, 3, side, side]` float32 for the samples
/// `first..first + len`. Each row depends on (`seed`, sample) alone, so the same sample meets the same noise at any
/// world size and after any resume.
///
/// # Errors
/// If libtorch cannot allocate.
pub fn timesteps_and_noise(
    seed: u64,
    first: u64,
    len: usize,
    steps: i64,
    side: i64,
    device: Device,
) -> Result<(Vec<i64>, Tensor), tch::TchError> {
    let noise = Tensor::f_empty([len as i64, 3, side, side], (Kind::Float, device))?;
    let mut timesteps = Vec::with_capacity(len);
    for row in 0..len {
        let mut rng = Rng::new(seed, &[PURPOSE, first + row as u64]);
        timesteps.push(rng.below(steps.unsigned_abs()) as i64);
        // The default generator of the device: a seed is all it takes, and nothing else here draws from it.
        tch::manual_seed((rng.u64() >> 1) as i64);
        let mut view = noise.get(row as i64);
        let _ = view.f_normal_(0.0, 1.0)?;
    }
    Ok((timesteps, noise))
}
