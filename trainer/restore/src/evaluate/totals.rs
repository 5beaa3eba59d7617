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
/// Of a case: how many images each metric is of, then the sums of the passes.
const STRIDE: usize = (1 + PASSES) * METRICS.len();

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

    /// Adds the scores of an image. What is not defined for it is no number, and counts in no mean.
    pub(super) fn add(&mut self, case: usize, pass: Pass, scores: &Scores, lpips: Option<f64>) {
        let psnr = |v: f64| v.min(PSNR_CAP);
        let values =
            [psnr(scores.psnr_rgb), scores.ssim_rgb, psnr(scores.psnr_y), scores.ssim_y, lpips.unwrap_or(f64::NAN)];
        let (counts, sums) = self.values[case * STRIDE..(case + 1) * STRIDE].split_at_mut(METRICS.len());
        let sums = &mut sums[pass as usize * METRICS.len()..];
        for ((count, sum), value) in counts.iter_mut().zip(sums).zip(values).filter(|(_, value)| value.is_finite()) {
            *sum += value;
            // All passes are of the same images.
            *count += f64::from(u8::from(pass == Pass::Before));
        }
    }

    /// Images of a case.
    pub fn images(&self, case: usize) -> u64 {
        self.scored(case, 0)
    }

    /// Images of a case that have the metric of this number in [`METRICS`]: SSIM and LPIPS need images of some size.
    pub fn scored(&self, case: usize, metric: usize) -> u64 {
        self.values[case * STRIDE + metric] as u64
    }

    /// Means of a case, in the order of [`METRICS`]; zeros if it has no image with the metric or the pass was not run.
    pub fn means(&self, case: usize, pass: Pass) -> [f64; METRICS.len()] {
        let values = &self.values[case * STRIDE..(case + 1) * STRIDE];
        let sums = (1 + pass as usize) * METRICS.len();
        std::array::from_fn(|m| values[sums + m] / values[m].max(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_workers_add_up() {
        let score = |psnr_rgb| Scores { psnr_rgb, ssim_rgb: 0.5, psnr_y: 1.0, ssim_y: 0.25 };
        let small = Scores { ssim_rgb: f64::NAN, ssim_y: f64::NAN, ..score(30.0) };
        let (mut a, mut b) = (Totals::new(2), Totals::new(2));
        for pass in [Pass::Before, Pass::After] {
            a.add(1, pass, &score(20.0), Some(0.1));
            b.add(1, pass, &score(f64::INFINITY), Some(0.3));
            b.add(1, pass, &small, None);
            b.add(0, pass, &small, None);
        }
        a.values_mut().iter_mut().zip(b.values_mut()).for_each(|(a, b)| *a += *b);
        assert_eq!((a.images(0), a.images(1)), (1, 3));
        assert_eq!([0, 1, 2, 3, 4].map(|metric| a.scored(1, metric)), [3, 2, 3, 2, 2]);
        let means = a.means(1, Pass::After);
        assert_eq!(means[..4], [50.0, 0.5, 1.0, 0.25]);
        assert!((means[4] - 0.2).abs() < 1e-12);
        assert_eq!(a.means(1, Pass::Blind), [0.0; 5]);
        assert_eq!((a.scored(0, 1), a.means(0, Pass::After)), (0, [30.0, 0.0, 1.0, 0.0, 0.0]));
    }
}
