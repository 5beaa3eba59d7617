//! Restoring and scoring a plan's pictures, or one worker's share of them.

use std::ops::ControlFlow;

use defusion_config::{Degradation, Severity};
use defusion_dataloader::Picture;
use rayon::prelude::*;
use tch::{Device, Tensor};

use super::EvaluateError;
use super::plan::{Plan, Sample};
use super::sheet::SheetRow;
use super::totals::{Pass, Totals};
use crate::metrics;
use crate::model::lpips::Lpips;
use crate::restore::{Job, Restored, Restorer};

/// How a plan is run.
#[derive(Default)]
pub struct Options<'a> {
    /// Also restore with an instruction that names every category.
    pub blind: bool,
    /// Also score LPIPS.
    pub lpips: Option<(&'a Lpips, Device)>,
    /// Rows of the contact sheet per case.
    pub sheet_rows: usize,
}

/// One worker's share: of every `world` pictures the one at `rank`.
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
    /// Sums over the slice's pictures.
    pub totals: Totals,
    /// The first pictures of each case within the slice.
    pub sheet: Vec<SheetRow>,
}

/// Evaluates a slice. `after_batch` is called after every batch with the number of finished pictures; whether it breaks
/// off must be the same on all workers, and it is called equally often on all of them, even those that have no more
/// pictures. `None` where it broke off.
///
/// # Errors
/// [`EvaluateError`], which names the dataset and the picture.
pub fn run(
    plan: &Plan,
    restorer: &Restorer<'_>,
    options: &Options<'_>,
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
            outcome.totals.count(case);
            let mut score = |pass, picture: &Picture| -> Result<f64, EvaluateError> {
                let dataset = || plan.cases()[case].dataset.clone();
                let scores = metrics::score(picture, &sample.hq).map_err(|source| EvaluateError::Metric {
                    dataset: dataset(),
                    key: sample.key.clone(),
                    source,
                })?;
                let lpips = options.lpips.map(|(lpips, device)| distance(lpips, device, picture, &sample.hq));
                outcome.totals.add(case, pass, &scores, lpips);
                Ok(scores.psnr_rgb)
            };
            let psnr_before = score(Pass::Before, &sample.lq)?;
            let psnr_after = score(Pass::After, &after[i].picture)?;
            if let Some(blind) = &blind {
                score(Pass::Blind, &blind[i].picture)?;
            }
            if shown[case] < options.sheet_rows {
                shown[case] += 1;
                let degradation = &plan.cases()[case].degradation;
                let name = sample.key.rsplit('/').next().unwrap_or_default();
                outcome.sheet.push(SheetRow {
                    label: format!("{degradation}  {name}  {psnr_before:.2} > {psnr_after:.2} dB"),
                    pictures: [&sample.lq, &after[i].instruction.v, &after[i].picture, &sample.hq].map(Picture::clone),
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
    plan: &Plan,
    restorer: &Restorer<'_>,
    items: &[(usize, usize)],
    samples: &[Sample],
    categories: Option<&[Degradation]>,
) -> Result<Vec<Restored>, EvaluateError> {
    let jobs: Vec<Job<'_>> = items
        .iter()
        .zip(samples)
        .map(|(&(case, _), sample)| Job {
            picture: &sample.lq,
            categories: categories.unwrap_or(&plan.cases()[case].categories),
            severity: Severity::Any,
            seed: sample.seed,
        })
        .collect();
    let mut restored = Vec::with_capacity(jobs.len());
    let size = |job: &Job<'_>| (job.picture.width(), job.picture.height());
    for alike in jobs.chunk_by(|a, b| size(a) == size(b)) {
        restored.extend(restorer.restore_all(alike)?);
    }
    for restored in &mut restored {
        // Scores and sheets are of what a file would hold.
        restored.picture.quantize();
    }
    Ok(restored)
}

/// LPIPS of two pictures of one size.
fn distance(lpips: &Lpips, device: Device, a: &Picture, b: &Picture) -> f64 {
    let tensor = |p: &Picture| {
        let planes = Tensor::from_slice(p.data()).view([1, 3, p.height() as i64, p.width() as i64]);
        planes.to_device(device) * 2.0 - 1.0
    };
    tch::no_grad(|| lpips.forward(&tensor(a), &tensor(b)).double_value(&[0]))
}
