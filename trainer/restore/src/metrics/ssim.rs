//! Structural similarity (Wang et al. 2004), as scikit-image computes it with `gaussian_weights=True, sigma=1.5,
//! use_sample_covariance=False, data_range=255`: an 11x11 Gaussian window, averaged over the positions where the window
//! lies within the image. Implementations differ in the second digit, so the definition is pinned by a golden test.

use rayon::prelude::*;

use super::{MetricError, Planes};

/// Side of the Gaussian window, pixels: radius `int(3.5 sigma + 0.5)` = 5.
pub const WINDOW: usize = 11;
const SIGMA: f64 = 1.5;
const C1: f64 = (0.01 * 255.0) * (0.01 * 255.0);
const C2: f64 = (0.03 * 255.0) * (0.03 * 255.0);
/// Output rows of one parallel task; its filtered rows stay in a core's cache.
const BAND: usize = 32;

/// Mean SSIM over channels and positions, in [-1, 1].
///
/// # Errors
/// [`MetricError`] if the images differ in size or channels, or are smaller than the window.
pub fn ssim(a: &Planes, b: &Planes) -> Result<f64, MetricError> {
    a.check(b)?;
    if a.width < WINDOW || a.height < WINDOW {
        return Err(MetricError::TooSmall(a.width, a.height));
    }
    let rows = a.height - WINDOW + 1;
    let starts: Vec<(usize, usize)> =
        (0..a.planes.len()).flat_map(|c| (0..rows).step_by(BAND).map(move |row| (c, row))).collect();
    // Bands are summed in order, so the result does not depend on the number of threads.
    let sums: Vec<f64> = starts
        .par_iter()
        .map(|&(c, row)| band(&a.planes[c], &b.planes[c], a.width, row, BAND.min(rows - row)))
        .collect();
    Ok(sums.iter().sum::<f64>() / (a.planes.len() * rows * (a.width - WINDOW + 1)) as f64)
}

fn weights() -> [f64; WINDOW] {
    let radius = (WINDOW / 2) as f64;
    let mut w = std::array::from_fn(|i| (-0.5 * ((i as f64 - radius) / SIGMA).powi(2)).exp());
    let sum: f64 = w.iter().sum();
    w.iter_mut().for_each(|v| *v /= sum);
    w
}

/// Sum of SSIM over output rows `first..first + rows` of one plane.
fn band(a: &[f64], b: &[f64], width: usize, first: usize, rows: usize) -> f64 {
    let w = weights();
    let columns = width - WINDOW + 1;
    // Per input row: the five moments x, y, x^2, y^2, xy, filtered along the row.
    let filtered: Vec<[Vec<f64>; 5]> = (first..first + rows + WINDOW - 1)
        .map(|row| {
            let (x, y) = (&a[row * width..(row + 1) * width], &b[row * width..(row + 1) * width]);
            let along = |value: &dyn Fn(usize) -> f64| -> Vec<f64> {
                let values: Vec<f64> = (0..width).map(value).collect();
                values.windows(WINDOW).map(|v| v.iter().zip(&w).map(|(v, w)| v * w).sum()).collect()
            };
            [
                along(&|i| x[i]),
                along(&|i| y[i]),
                along(&|i| x[i] * x[i]),
                along(&|i| y[i] * y[i]),
                along(&|i| x[i] * y[i]),
            ]
        })
        .collect();
    let mut sum = 0.0;
    for window in filtered.windows(WINDOW) {
        for column in 0..columns {
            let [ux, uy, uxx, uyy, uxy] =
                std::array::from_fn(|m| window.iter().zip(&w).map(|(row, w)| row[m][column] * w).sum::<f64>());
            let (vx, vy, vxy) = (uxx - ux * ux, uyy - uy * uy, uxy - ux * uy);
            sum += ((2.0 * ux * uy + C1) * (2.0 * vxy + C2)) / ((ux * ux + uy * uy + C1) * (vx + vy + C2));
        }
    }
    sum
}
