//! `defusion evaluate`.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use defusion_checkpoint::{CheckpointError, RunFolder};
use defusion_config::protocol::EXIT_FAILED;
use defusion_config::{ConfigError, Override, Precision, Resolved};
use defusion_imaging::image_file::{ImageFileError, write_image};
use defusion_model::networks::lpips::Lpips;
use defusion_model::weights::WeightsError;
use defusion_restore::Restorer;
use defusion_restore::evaluate::{
    EvaluateError, EvaluateOptions, EvaluationPlan, Provenance, Report, Slice, Totals, draw_sheet, run,
};
use defusion_restore::export::{ExportError, Exported};
use defusion_torch::TorchError;
use indicatif::ProgressBar;
use tch::Device;

use crate::device;
use crate::stdout::say;

const REPORT: &str = "report.json";
const CONTACT_SHEET: &str = "contact_sheet.png";

/// Arguments of `defusion evaluate`.
#[derive(Clone, Debug, Args)]
pub struct EvaluateArgs {
    /// Config whose `evaluation.datasets` are scored, with its degradations and sampler.
    #[arg(long)]
    pub config: PathBuf,
    /// Changes to the config: dotted.key=value.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<Override>,
    /// Weights that `defusion export` wrote; the newest checkpoint of the run otherwise.
    #[arg(long, conflicts_with = "run")]
    pub weights: Option<PathBuf>,
    /// Run folder: a path or an object_store URL; the config's otherwise.
    #[arg(long)]
    pub run: Option<String>,
    /// Folder of report.json and contact_sheet.png; those of an evaluation before are replaced.
    #[arg(long, default_value = "evaluation")]
    pub out: PathBuf,
    /// Seed of grounds, severities and y_T. The degraded images do not depend on it.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Evaluate with this many seeds, and report the spread.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub repeats: u64,
    /// Also restore with an instruction that names every degradation, so that nothing is told about the image.
    #[arg(long)]
    pub blind: bool,
    /// Images per split and degradation; 0: all. evaluation.images of the config otherwise.
    #[arg(long)]
    pub images: Option<u64>,
    /// Side of the centre crops that are scored; 0: full frames. evaluation.crop of the config otherwise.
    #[arg(long)]
    pub crop: Option<u32>,
    /// Also score LPIPS, with the AlexNet weights that scripts/lpips-weights wrote.
    #[arg(long)]
    pub lpips: Option<PathBuf>,
    /// Images and tiles that the U-Net sees at once.
    #[arg(long, default_value_t = 8)]
    pub batch: usize,
    /// Rows of the contact sheet for each degradation.
    #[arg(long, default_value_t = 2)]
    pub sheet_rows: usize,
    /// cpu or cuda:N; the first GPU, if there is one, otherwise.
    #[arg(long, value_parser = device::parse)]
    pub device: Option<Device>,
    /// What the U-Net computes with: bf16, fp32, or auto: bf16 where the device multiplies it natively, fp32 elsewhere.
    #[arg(long, default_value_t = Precision::Auto)]
    pub precision: Precision,
}

/// Why a command did not evaluate, or not write what it found.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateCommandError {
    /// Datasets, networks or scores.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// The config cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// LPIPS's weights cannot be used.
    #[error(transparent)]
    Lpips(#[from] WeightsError),
    /// The run's or file's weights cannot be used.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The run folder cannot be opened.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// libtorch cannot say what the device is.
    #[error("--device: {0}")]
    Device(#[from] TorchError),
    /// The contact sheet cannot be written.
    #[error(transparent)]
    Image(#[from] ImageFileError),
    /// The report cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl EvaluateCommandError {
    /// Returns the command's exit code (`defusion_config::protocol`).
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Evaluate(source) => source.exit_code(),
            Self::Config(source) => source.exit_code(),
            Self::Lpips(source) => source.exit_code(),
            Self::Export(source) => source.exit_code(),
            Self::Checkpoint(source) => source.exit_code(),
            Self::Device(source) => source.exit_code(),
            Self::Image(source) => source.exit_code(),
            Self::Write { .. } => EXIT_FAILED,
        }
    }
}

/// Evaluates, prints the table, and writes report and contact sheet.
///
/// # Errors
/// [`EvaluateCommandError`].
pub fn run_evaluate(args: &EvaluateArgs) -> Result<(), EvaluateCommandError> {
    let mut config = Resolved::load(&args.config, &args.sets)?.config;
    config.evaluation.images = args.images.unwrap_or(config.evaluation.images);
    config.evaluation.crop = args.crop.unwrap_or(config.evaluation.crop);
    let write = |path: &PathBuf, source| EvaluateCommandError::Write { path: path.clone(), source };
    std::fs::create_dir_all(&args.out).map_err(|source| write(&args.out, source))?;
    let plans: Vec<EvaluationPlan> = (args.seed..args.seed.saturating_add(args.repeats))
        .map(|seed| EvaluationPlan::open(&config, seed))
        .collect::<Result<_, _>>()?;

    let device = args.device.unwrap_or_else(Device::cuda_if_available);
    let arithmetic = device::arithmetic(args.precision, device)?;
    let (exported, networks) = match &args.weights {
        Some(path) => Exported::open(path, device)?,
        None => Exported::of_run(&RunFolder::open(args.run.as_ref().unwrap_or(&config.run))?, device)?,
    };
    // Networks and instructions are those of the weights; the sampler, and where this machine keeps ground images, are
    // the evaluation's.
    let mut model_config = exported.config.clone();
    model_config.diffusion.sampler = config.diffusion.sampler.clone();
    model_config.data.grounds.natural = config.data.grounds.natural.clone();
    model_config.data.grounds.charts = config.data.grounds.charts.clone();
    let restorer = Restorer::new(networks.tokenizer(), networks.unet(), &model_config, device, arithmetic, args.batch)
        .map_err(EvaluateError::from)?;
    let lpips = args.lpips.as_ref().map(|path| Lpips::alex(path, device)).transpose()?;

    let start = Instant::now();
    let mut runs: Vec<Totals> = Vec::new();
    let mut sheet = Vec::new();
    for plan in &plans {
        let options = EvaluateOptions {
            blind: args.blind,
            lpips: lpips.as_ref().map(|lpips| (lpips, device)),
            // The contact sheet shows the first seed.
            sheet_rows: if runs.is_empty() { args.sheet_rows } else { 0 },
        };
        let bar = ProgressBar::new(plan.len() as u64);
        let outcome = run(plan, &restorer, &options, Slice::ALL, |done| {
            bar.set_position(done as u64);
            ControlFlow::Continue(())
        })?;
        bar.finish_and_clear();
        if let Some(outcome) = outcome {
            runs.push(outcome.totals);
            sheet.extend(outcome.sheet);
        }
    }
    let Some(plan) = plans.first() else { return Ok(()) };
    let provenance = Provenance {
        run_url: exported.run,
        weights: args.weights.as_ref().map_or(exported.checkpoint, |path| path.display().to_string()),
        step: exported.step,
        config_digest: exported.config_digest,
        seed: args.seed,
        repeats: args.repeats,
        precision: Some(arithmetic),
        timesteps: config.diffusion.sampler.timesteps.clone(),
        crop: config.evaluation.crop,
        instruction: "oracle: a random ground with the image's own categories, at random severities",
        blind_categories: if args.blind {
            plan.every_category().iter().map(|c| c.name()).collect()
        } else {
            Vec::new()
        },
    };
    let mut report = Report::new(plan, &runs, lpips.is_some(), args.blind, provenance);
    report.seconds = start.elapsed().as_secs_f64();
    report.contact_sheet = CONTACT_SHEET.to_owned();
    if let Some(image) = draw_sheet(&sheet) {
        write_image(&args.out.join(CONTACT_SHEET), &image, true)?;
    }
    let path = args.out.join(REPORT);
    let json = serde_json::to_vec_pretty(&report).map_err(|e| write(&path, e.into()))?;
    std::fs::write(&path, json).map_err(|source| write(&path, source))?;
    say(report.table().trim_end());
    say(path.display());
    Ok(())
}
