//! Peak signal-to-noise ratio.

use super::{MetricError, Planes};

/// `10 log10(255^2 / MSE)` over all channels together, dB; infinite if the images are equal
/// (scikit-image's `peak_signal_noise_ratio` with `data_range=255`).
///
/// # Errors
/// [`MetricError`] if the images differ in size or channels.
pub fn psnr(a: &Planes, b: &Planes) -> Result<f64, MetricError> {
    a.check(b)?;
    let squares: f64 =
        a.planes.iter().zip(&b.planes).flat_map(|(p, q)| p.iter().zip(q)).map(|(x, y)| (x - y).powi(2)).sum();
    let values = a.planes.len() * a.width * a.height;
    Ok(10.0 * (255.0 * 255.0 * values as f64 / squares).log10())
}
