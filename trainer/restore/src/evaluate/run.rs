//! Restoring and scoring a plan's images, or one worker's share of them.

use std::ops::ControlFlow;

use defusion_config::{Degradation, Severity};
use defusion_imaging::Image;
use rayon::prelude::*;
use tch::Device;

use super::EvaluateError;
use super::plan::{EvaluationPlan, Sample};
use super::sheet::SheetRow;
use super::totals::{Pass, Totals};
use crate::metrics;
use crate::{Job, Restored, Restorer, to_tensor};
use defusion_model::networks::lpips::Lpips;

/// Shortest side of an image that LPIPS is measured of, pixels: of a smaller one AlexNet's pooling leaves nothing.
const LPIPS_SIDE: usize = 31;

/// How a plan is run.
#[derive(Default)]
pub struct EvaluateOptions<'a> {
    /// Also restore with an instruction that names every category.
    pub blind: bool,
    /// Also score LPIPS.
    pub lpips: Option<(&'a Lpips, Device)>,
    /// Rows of the contact sheet per case.
    pub sheet_rows: usize,
}

/// One worker's share: of every `world` images the one at `rank`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// From 0.
    pub rank: usize,
    /// At least 1.
    pub world: usize,
}

impl Slice {
    /// Everything.
    pub const ALL: Self = Self { rank: 0, world: 1 };
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Sums over the slice's images.
    pub totals: Totals,
    /// The first images of each case within the slice.
    pub sheet: Vec<SheetRow>,
}

/// Evaluates a slice. `after_batch` is called after every batch with the number of finished images; whether it breaks
/// off must be the same on all workers, and it is called equally often on all of them, even those that have no more
/// images. `None` if it broke off.
///
/// # Errors
/// [`EvaluateError`], which names the dataset and the image.
pub fn run(
    plan: &EvaluationPlan,
    restorer: &Restorer<'_>,
    options: &EvaluateOptions<'_>,
    slice: Slice,
    mut after_batch: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<Option<Outcome>, EvaluateError> {
    let world = slice.world.max(1);
    let items: Vec<(usize, usize)> = plan.items().iter().copied().skip(slice.rank).step_by(world).collect();
    let mut outcome = Outcome { totals: Totals::new(plan.cases().len()), sheet: Vec::new() };
    let mut shown = vec![0; plan.cases().len()];
    let batch = restorer.batch();
    let rounds = plan.len().div_ceil(world).div_ceil(batch);
    for round in 0..rounds {
        let items = items.get(round * batch..).unwrap_or_default();
        let items = &items[..items.len().min(batch)];
        let samples: Vec<Sample> =
            items.par_iter().map(|&item| plan.sample(item)).collect::<Result<_, EvaluateError>>()?;
        let after = restore(plan, restorer, items, &samples, None)?;
        let blind = match options.blind {
            true => Some(restore(plan, restorer, items, &samples, Some(plan.every_category()))?),
            false => None,
        };
        for (i, (&(case, _), sample)) in items.iter().zip(&samples).enumerate() {
            let mut score = |pass, image: &Image| -> Result<f64, EvaluateError> {
                let dataset = || plan.cases()[case].dataset.clone();
                let scores = metrics::score(image, &sample.hq).map_err(|source| EvaluateError::Metric {
                    dataset: dataset(),
                    key: sample.key.clone(),
                    source,
                })?;
                let small = image.width().min(image.height()) < LPIPS_SIDE;
                let lpips = options.lpips.filter(|_| !small);
                let lpips = lpips.map(|(lpips, device)| distance(lpips, device, image, &sample.hq));
                outcome.totals.add(case, pass, &scores, lpips);
                Ok(scores.psnr_rgb)
            };
            let psnr_before = score(Pass::Before, &sample.lq)?;
            let psnr_after = score(Pass::After, &after[i].image)?;
            if let Some(blind) = &blind {
                score(Pass::Blind, &blind[i].image)?;
            }
            if shown[case] < options.sheet_rows {
                shown[case] += 1;
                let degradation = &plan.cases()[case].degradation;
                let name = sample.key.rsplit('/').next().unwrap_or_default();
                outcome.sheet.push(SheetRow {
                    label: format!("{degradation}  {name}  {psnr_before:.2} > {psnr_after:.2} dB"),
                    images: [&sample.lq, &after[i].instruction.v, &after[i].image, &sample.hq].map(Image::clone),
                });
            }
        }
        if after_batch((round * batch + items.len()).min(plan.len())).is_break() {
            return Ok(None);
        }
    }
    Ok(Some(outcome))
}

/// Restores samples, those of one size that follow each other together. `categories` replaces what their cases name.
fn restore(
    plan: &EvaluationPlan,
    restorer: &Restorer<'_>,
    items: &[(usize, usize)],
    samples: &[Sample],
    categories: Option<&[Degradation]>,
) -> Result<Vec<Restored>, EvaluateError> {
    let jobs: Vec<Job<'_>> = items
        .iter()
        .zip(samples)
        .map(|(&(case, _), sample)| Job {
            image: &sample.lq,
            categories: categories.unwrap_or(&plan.cases()[case].categories),
            severity: Severity::Any,
            seed: sample.seed,
        })
        .collect();
    let mut restored = Vec::with_capacity(jobs.len());
    let size = |job: &Job<'_>| (job.image.width(), job.image.height());
    for alike in jobs.chunk_by(|a, b| size(a) == size(b)) {
        restored.extend(restorer.restore_all(alike)?);
    }
    for restored in &mut restored {
        // Scores and sheets are of what a file would hold.
        restored.image.quantize();
    }
    Ok(restored)
}

/// LPIPS of two images of one size.
fn distance(lpips: &Lpips, device: Device, a: &Image, b: &Image) -> f64 {
    let tensor = |image| to_tensor(std::iter::once(image), device);
    tch::no_grad(|| lpips.forward(&tensor(a), &tensor(b)).double_value(&[0]))
}
