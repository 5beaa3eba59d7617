//! Means of scores over images and repetitions.

use std::collections::BTreeMap;

use serde::Serialize;

use super::totals::{METRICS, Pass, Totals};

/// Means over images. PSNR in dB, on RGB unless the name ends in `_y` (BT.601 luma).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Images.
    pub images: u64,
    /// Images that SSIM is of, if not of all: those in which its window of 11x11 pixels has room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssim_images: Option<u64>,
    /// PSNR of the degraded images.
    pub psnr_before: f64,
    /// PSNR of the restored images.
    pub psnr_after: f64,
    /// Standard deviation of `psnr_after` over the repetitions, which differ in ground, severity and y_T.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psnr_after_spread: Option<f64>,
    /// All other metrics: `{metric}_before`, `{metric}_after`, and `{metric}_blind` if a blind pass was run.
    #[serde(flatten)]
    pub more: BTreeMap<String, f64>,
}

/// Figures over the images of `cases` together; means of the repetitions.
pub(super) fn figures(runs: &[Totals], cases: &[usize], lpips: bool, blind: bool) -> Figures {
    let scored = |run: &Totals, metric: usize| cases.iter().map(|&c| run.scored(c, metric)).sum::<u64>();
    let mean_of_run = |run: &Totals, pass: Pass, metric: usize| {
        let sum: f64 = cases.iter().map(|&c| run.means(c, pass)[metric] * run.scored(c, metric) as f64).sum();
        sum / scored(run, metric).max(1) as f64
    };
    let scored = |metric| runs.first().map_or(0, |run| scored(run, metric));
    let mean =
        |pass, metric| runs.iter().map(|run| mean_of_run(run, pass, metric)).sum::<f64>() / runs.len().max(1) as f64;
    let after = mean(Pass::After, 0);
    let spread = (runs.len() > 1).then(|| {
        let squares = runs.iter().map(|run| (mean_of_run(run, Pass::After, 0) - after).powi(2)).sum::<f64>();
        (squares / (runs.len() - 1) as f64).sqrt()
    });
    let mut more = BTreeMap::new();
    for (m, metric) in METRICS.iter().enumerate().filter(|(_, metric)| lpips || **metric != "lpips") {
        for (pass, suffix) in [(Pass::Before, "before"), (Pass::After, "after"), (Pass::Blind, "blind")] {
            let named = m == 0 && pass != Pass::Blind;
            if !named && scored(m) > 0 && (blind || pass != Pass::Blind) {
                more.insert(format!("{metric}_{suffix}"), mean(pass, m));
            }
        }
    }
    Figures {
        images: scored(0),
        ssim_images: Some(scored(1)).filter(|n| *n < scored(0)),
        psnr_before: mean(Pass::Before, 0),
        psnr_after: after,
        psnr_after_spread: spread,
        more,
    }
}
