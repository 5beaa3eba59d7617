//! Sums of scores, in one flat vector that workers can all-reduce.

use crate::metrics::Scores;

/// Metrics of an image, in the order in which they are summed.
pub const METRICS: [&str; 5] = ["psnr", "ssim", "psnr_y", "ssim_y", "lpips"];
/// PSNR of equal 8-bit images would be infinite and spoil every mean: it counts as this many dB.
pub const PSNR_CAP: f64 = 100.0;

/// Which image is scored against the clean one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// The degraded image.
    Before,
    /// Restored with an instruction that names its degradations.
    After,
    /// Restored with an instruction that names every degradation.
    Blind,
}

const PASSES: usize = 3;
const STRIDE: usize = 1 + PASSES * METRICS.len();

/// Sums over images, case by case.
#[derive(Clone, Debug, PartialEq)]
pub struct Totals {
    values: Vec<f64>,
}

impl Totals {
    /// Zeros for `cases` cases.
    pub fn new(cases: usize) -> Self {
        Self { values: vec![0.0; cases * STRIDE] }
    }

    /// All sums; adding two workers' vectors merges their totals.
    pub fn values_mut(&mut self) -> &mut [f64] {
        &mut self.values
    }

    pub(super) fn count(&mut self, case: usize) {
        self.values[case * STRIDE] += 1.0;
    }

    pub(super) fn add(&mut self, case: usize, pass: Pass, scores: &Scores, lpips: Option<f64>) {
        let psnr = |v: f64| v.min(PSNR_CAP);
        let values =
            [psnr(scores.psnr_rgb), scores.ssim_rgb, psnr(scores.psnr_y), scores.ssim_y, lpips.unwrap_or_default()];
        let start = case * STRIDE + 1 + pass as usize * METRICS.len();
        self.values[start..start + METRICS.len()].iter_mut().zip(values).for_each(|(sum, v)| *sum += v);
    }

    /// Images of a case.
    pub fn images(&self, case: usize) -> u64 {
        self.values[case * STRIDE] as u64
    }

    /// Means of a case, in the order of [`METRICS`]; zeros if it has no image or the pass was not run.
    pub fn means(&self, case: usize, pass: Pass) -> [f64; METRICS.len()] {
        let start = case * STRIDE + 1 + pass as usize * METRICS.len();
        let images = self.values[case * STRIDE].max(1.0);
        std::array::from_fn(|m| self.values[start + m] / images)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_workers_add_up() {
        let score = |psnr_rgb| Scores { psnr_rgb, ssim_rgb: 0.5, psnr_y: 1.0, ssim_y: 0.25 };
        let (mut a, mut b) = (Totals::new(2), Totals::new(2));
        a.count(1);
        a.add(1, Pass::After, &score(20.0), Some(0.1));
        b.count(1);
        b.add(1, Pass::After, &score(f64::INFINITY), Some(0.3));
        b.count(0);
        a.values_mut().iter_mut().zip(b.values_mut()).for_each(|(a, b)| *a += *b);
        assert_eq!((a.images(0), a.images(1)), (1, 2));
        let means = a.means(1, Pass::After);
        assert_eq!(means[..4], [60.0, 0.5, 1.0, 0.25]);
        assert!((means[4] - 0.2).abs() < 1e-12);
        assert_eq!(a.means(1, Pass::Before), [0.0; 5]);
    }
}
