//! What a run is going to do, worked out from its config alone and shown before anything is started.

mod findings;
mod local;
mod placement;
mod precision;
mod samples;
mod stage;
mod text;

use std::io::Write;
use std::path::PathBuf;

use defusion_config::{Resolved, Stage};
use defusion_footprint as footprint;
use serde::Serialize;

use crate::error::LaunchError;
pub use placement::Placement;
use precision::PrecisionChoice;
pub use samples::{DatasetShare, Samples};
pub use stage::{CROPS_PER_EPOCH, StagePlan};

/// The plan of a run. Its JSON form is what `--dry-run --json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct LaunchPlan {
    /// Name of the run.
    pub name: String,
    /// File of the config.
    pub config: PathBuf,
    /// Digest of the config, as a new run folder is going to record it.
    pub digest: String,
    /// Run folder.
    pub run: String,
    /// Where the workers run.
    pub workers: Placement,
    /// Parameters of each network.
    pub parameters: Parameters,
    /// Both stages, or the second alone if the first is skipped.
    pub stages: Vec<StagePlan>,
    /// Most that all checkpoints take that are kept when the run has ended, bytes.
    pub kept_checkpoint_bytes: u64,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// What is trained on.
    pub samples: Samples,
    /// What will not work, one message each.
    pub problems: Vec<String>,
    /// What may not work, or not well, one message each.
    pub warnings: Vec<String>,
}

/// Number of parameters of each network.
#[derive(Clone, Debug, Serialize)]
pub struct Parameters {
    /// The VQ tokenizer.
    pub tokenizer: u64,
    /// The tokenizer's discriminator.
    pub discriminator: u64,
    /// The U-Net without what is added to it.
    pub unet: u64,
    /// The image restoration bridge.
    pub bridge: u64,
    /// The visual instruction adapter.
    pub adapter: u64,
}

impl LaunchPlan {
    /// Works out the plan of a valid config. What follows the hardware (`precision: auto`) follows this host's.
    pub fn new(resolved: &Resolved) -> Self {
        let precision = PrecisionChoice::new(&resolved.config);
        let resolved = Resolved { config: precision.config, path: resolved.path.clone() };
        let config = &resolved.config;
        let model = &config.model;
        let (instruction, crop) = (config.data.grounds.size, config.data.crop);
        let diffusion = footprint::diffusion(model, crop, footprint::tokens(model, instruction));
        let stages: Vec<_> = Stage::BOTH
            .into_iter()
            .zip(precision.why)
            .map(|(stage, why)| StagePlan::new(config, stage, why))
            .filter(|plan| plan.steps > 0)
            .collect();
        let kept_checkpoint_bytes = stages.iter().map(|stage| stage.kept_bytes(config)).sum();
        let (samples, mut warnings) = Samples::new(config);
        warnings.extend(precision.warnings);
        let mut plan = Self {
            name: config.name.clone(),
            config: resolved.path.clone(),
            digest: resolved.digest(),
            run: config.run.clone(),
            workers: Placement::new(config),
            parameters: Parameters {
                tokenizer: footprint::tokenizer(&model.tokenizer, instruction).count(),
                discriminator: footprint::discriminator(&model.discriminator, instruction).count(),
                unet: diffusion.count_under("unet."),
                bridge: diffusion.count_under("bridge."),
                adapter: diffusion.count_under("adapter."),
            },
            stages,
            kept_checkpoint_bytes,
            checkpoint_every: config.checkpoints.every,
            samples,
            problems: Vec::new(),
            warnings,
        };
        plan.find_problems(config);
        plan
    }

    /// Prints the plan to standard output, as text or as JSON.
    ///
    /// # Errors
    /// [`LaunchError::Usage`] if it cannot be written as JSON, which no plan is known to cause.
    pub fn print(&self, json: bool) -> Result<(), LaunchError> {
        let text = if json {
            serde_json::to_string_pretty(self).map_err(|e| LaunchError::usage(e.to_string()))? + "\n"
        } else {
            self.to_string()
        };
        // A reader that has seen enough (`| head`) is no failure.
        let _ = std::io::stdout().write_all(text.as_bytes());
        Ok(())
    }

    /// Fails if the plan cannot work.
    ///
    /// # Errors
    /// [`LaunchError::Usage`] with all [`LaunchPlan::problems`].
    pub fn check(&self) -> Result<(), LaunchError> {
        match self.problems.as_slice() {
            [] => Ok(()),
            problems => Err(LaunchError::usage(format!("config {}: {}", self.config.display(), problems.join("\n")))),
        }
    }
}
