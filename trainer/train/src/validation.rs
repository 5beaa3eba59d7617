//! Validation within training: the moving averages restore held-out images, and all ranks share the work.

use defusion_config::Config;

use defusion_restore::evaluate::{EvaluateError, EvaluationPlan, Pass, Totals};

/// Seed of grounds and of y_T: the same in every validation, so that its figures differ by the weights alone.
const SEED: u64 = 0;

/// What is validated, and when.
#[derive(Debug)]
pub struct Validation {
    plan: EvaluationPlan,
    every: u64,
}

impl Validation {
    /// Opens `evaluation.datasets`; `None` if `evaluation.validate_every` is 0. At the start of a run, so that a set that is not
    /// there is missed before hours of training.
    ///
    /// # Errors
    /// [`EvaluateError`], which names the dataset.
    pub fn open(config: &Config) -> Result<Option<Self>, EvaluateError> {
        let every = config.evaluation.validate_every;
        if every == 0 {
            return Ok(None);
        }
        let mut config = config.clone();
        config.evaluation.images = config.evaluation.validate_images;
        Ok(Some(Self { plan: EvaluationPlan::open(&config, SEED)?, every }))
    }

    /// Whether one is due after `done` of `iterations` steps. The last step's is left to `defusion evaluate`, which scores
    /// the same weights on as many images as one likes.
    pub fn due(&self, done: u64, iterations: u64) -> bool {
        done < iterations && done.is_multiple_of(self.every)
    }

    /// The images.
    pub fn plan(&self) -> &EvaluationPlan {
        &self.plan
    }

    /// Mean PSNR (RGB, dB) over the cases: of the degraded and of the restored images.
    pub fn mean_psnr(&self, totals: &Totals) -> (f64, f64) {
        let mean = |pass| {
            let cases = 0..self.plan.cases().len();
            cases.clone().map(|case| totals.means(case, pass)[0]).sum::<f64>() / cases.len().max(1) as f64
        };
        (mean(Pass::Before), mean(Pass::After))
    }

    /// Charts by name: `validation/psnr/gopro/motion_blur` and the like, and the mean over all of them.
    pub fn charts(&self, totals: &Totals) -> Vec<(String, f64)> {
        let case = |(number, case): (usize, &defusion_restore::evaluate::Case)| {
            let [psnr, ssim, ..] = totals.means(number, Pass::After);
            let name = format!("{}/{}", case.dataset, case.degradation);
            let ssim = (totals.scored(number, 1) > 0).then(|| (format!("validation/ssim/{name}"), ssim));
            std::iter::once((format!("validation/psnr/{name}"), psnr)).chain(ssim)
        };
        let mut charts: Vec<_> = self.plan.cases().iter().enumerate().flat_map(case).collect();
        charts.push(("validation/psnr/mean".into(), self.mean_psnr(totals).1));
        charts
    }
}
