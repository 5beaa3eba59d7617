//! The report: `report.json`, and the table on standard output.

use std::collections::BTreeMap;
use std::fmt::Write;

use defusion_config::Arithmetic;
use serde::Serialize;

use super::figures::{Figures, figures};
use super::plan::{Case, EvaluationPlan};
use super::targets::{self, Target};
use super::totals::Totals;
use crate::metrics::WINDOW;

/// Version of the report's format.
pub const VERSION: u32 = 1;

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Dataset.
    pub dataset: String,
    /// Its split.
    pub split: String,
    /// Categories joined by `+`, in the order in which they were applied.
    pub degradation: String,
    /// True if the degradation was applied by the evaluation, false for the dataset's own pairs.
    pub synthetic: bool,
    /// Its figures.
    #[serde(flatten)]
    pub figures: Figures,
    /// The paper's figures for this dataset and degradation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paper: Vec<Target>,
}

/// What was evaluated, and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Provenance {
    /// The run folder of the weights.
    pub run_url: String,
    /// The file of weights, or the checkpoint of the run.
    pub weights: String,
    /// Steps of the diffusion stage that the weights have seen.
    pub step: u64,
    /// Digest of the run's config.
    pub config_digest: String,
    /// Seed of grounds, severities and y_T; further repetitions take the seeds after it.
    pub seed: u64,
    /// Repetitions.
    pub repeats: u64,
    /// What the U-Net computed with; absent in reports from before there was a choice, which are float32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<Arithmetic>,
    /// DDIM's timesteps.
    pub timesteps: Vec<i64>,
    /// Side of the centre crops that were scored; 0: full frames.
    pub crop: u32,
    /// What the oracle instruction was told.
    pub instruction: &'static str,
    /// What the blind instruction named; empty if no blind pass was run.
    pub blind_categories: Vec<&'static str>,
}

/// `report.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// [`VERSION`].
    pub format_version: u32,
    /// What was evaluated, and how.
    #[serde(flatten)]
    pub provenance: Provenance,
    /// Mean over `degradations` of the PSNR before, dB.
    pub mean_psnr_before: f64,
    /// Mean over `degradations` of the PSNR after, dB.
    pub mean_psnr_after: f64,
    /// Figures by degradation, over the images of all datasets that have it.
    pub degradations: BTreeMap<String, Figures>,
    /// Figures by dataset and degradation.
    pub rows: Vec<Row>,
    /// File of the contact sheet beside the report; its columns are degraded, instruction, restored, clean.
    pub contact_sheet: String,
    /// Wall-clock seconds of restoring and scoring.
    pub seconds: f64,
}

impl Report {
    /// From the totals of each repetition, at least one. `lpips` and `blind` say which figures were measured.
    pub fn new(plan: &EvaluationPlan, runs: &[Totals], lpips: bool, blind: bool, provenance: Provenance) -> Self {
        let rows: Vec<Row> = plan
            .cases()
            .iter()
            .enumerate()
            .map(|(c, case)| Row {
                dataset: case.dataset.clone(),
                split: case.split.clone(),
                degradation: case.degradation.clone(),
                synthetic: case.synthetic,
                figures: figures(runs, &[c], lpips, blind),
                paper: paper(case),
            })
            .collect();
        let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (c, case) in plan.cases().iter().enumerate() {
            by_name.entry(case.degradation.clone()).or_default().push(c);
        }
        let degradations: BTreeMap<String, Figures> =
            by_name.into_iter().map(|(name, cases)| (name, figures(runs, &cases, lpips, blind))).collect();
        let mean =
            |of: fn(&Figures) -> f64| degradations.values().map(of).sum::<f64>() / degradations.len().max(1) as f64;
        Self {
            format_version: VERSION,
            provenance,
            mean_psnr_before: mean(|f| f.psnr_before),
            mean_psnr_after: mean(|f| f.psnr_after),
            degradations,
            rows,
            contact_sheet: String::new(),
            seconds: 0.0,
        }
    }

    /// The table for people.
    pub fn table(&self) -> String {
        let mut out = String::new();
        let name = |row: &Row| format!("{} {} / {}", row.dataset, row.split, row.degradation);
        let width =
            self.rows.iter().map(|row| name(row).len()).max().unwrap_or(0).max("dataset, split / degradation".len());
        let get = |f: &Figures, key: &str| f.more.get(key).copied();
        let pair = |before: Option<f64>, after: Option<f64>, digits: usize| match (before, after) {
            (Some(before), Some(after)) => format!("{before:.digits$} > {after:.digits$}"),
            _ => String::new(),
        };
        let blind = self.rows.iter().any(|row| row.figures.more.contains_key("psnr_blind"));
        let lpips = self.rows.iter().any(|row| row.figures.more.contains_key("lpips_after"));
        let line = |cells: [String; 8]| {
            let [name, images, psnr, gain, ssim, luma, more, paper] = cells;
            let line =
                format!("{name:width$}  {images:>6}  {psnr:>15}  {gain:>6}  {ssim:>15}  {luma:>15}{more}  {paper}");
            format!("{}\n", line.trim_end())
        };
        let head = |text: &str| text.to_owned();
        let more =
            [(blind, "  PSNR blind"), (lpips, "   LPIPS b > a ")].into_iter().filter(|m| m.0).map(|m| m.1).collect();
        out += &line([
            head("dataset, split / degradation"),
            head("images"),
            head("PSNR RGB"),
            head("gain"),
            head("SSIM RGB"),
            head("PSNR Y"),
            more,
            head(if self.rows.iter().any(|row| !row.paper.is_empty()) { "paper" } else { "" }),
        ]);
        for row in &self.rows {
            let f = &row.figures;
            let mut more = String::new();
            if blind {
                let _ = write!(more, "  {:>10.2}", get(f, "psnr_blind").unwrap_or_default());
            }
            if lpips {
                let _ = write!(more, "  {:>13}", pair(get(f, "lpips_before"), get(f, "lpips_after"), 3));
            }
            out += &line([
                name(row),
                f.images.to_string(),
                pair(Some(f.psnr_before), Some(f.psnr_after), 2),
                format!("{:+.2}", f.psnr_after - f.psnr_before),
                pair(get(f, "ssim_before"), get(f, "ssim_after"), 3),
                pair(get(f, "psnr_y_before"), get(f, "psnr_y_after"), 2),
                more,
                row.paper.iter().map(shown).collect::<Vec<_>>().join("; "),
            ]);
        }
        let psnr = pair(Some(self.mean_psnr_before), Some(self.mean_psnr_after), 2);
        let gain = format!("{:+.2}", self.mean_psnr_after - self.mean_psnr_before);
        let empty = String::new;
        out += &line([head("mean"), empty(), psnr, gain, empty(), empty(), empty(), empty()]);
        for row in &self.rows {
            if let Some(left_out) = row.figures.ssim_images.map(|scored| row.figures.images - scored) {
                let _ = writeln!(
                    out,
                    "{}: SSIM is without {left_out} image(s) smaller than {WINDOW}x{WINDOW} pixels",
                    name(row)
                );
            }
        }
        out
    }
}

fn shown(target: &Target) -> String {
    let figures = [("PSNR", target.psnr), ("SSIM", target.ssim), ("LPIPS", target.lpips), ("FID", target.fid)];
    let figures: Vec<String> = figures.iter().filter_map(|(name, v)| v.map(|v| format!("{name} {v}"))).collect();
    format!("table {}: {}", target.table, figures.join(", "))
}

fn paper(case: &Case) -> Vec<Target> {
    targets::of(&case.dataset, if case.synthetic { &case.categories } else { &[] })
}
