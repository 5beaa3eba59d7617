//! The typed configuration of every part of Defusion, and the recipes (`configs/*.yaml`) that it must parse.
//!
//! Every section has a default, and the defaults are the recipe of the paper (Defusion, CVPR 2025, arXiv 2506.16960)
//! as far as it states one. A recipe names only what it changes. Unknown keys are errors. `docs/config.md` lists all keys; it
//! is generated from the [`schema`].
//!
//! All other crates stand on this one. Launcher and workers agree here on environment, heartbeats and exit codes
//! ([`protocol`]).
//!
//! ```
//! use defusion_config::Resolved;
//!
//! let recipe = "{name: mine, run: runs/mine, data: {shards: shards, datasets: [{name: gopro}]}, \
//!                tokenizer: {iterations: 0, pretrained: vqgan.safetensors}}";
//! let change = "diffusion.lr.base=2.0e-4".parse()?;
//! let resolved = Resolved::parse(recipe, "mine.yaml".as_ref(), &[change])?;
//! assert_eq!(resolved.config.diffusion.lr.base, 2.0e-4);
//! assert_eq!(resolved.config.data.crop, 256);
//!
//! let error = Resolved::parse(&recipe.replace("run:", "runs:"), "mine.yaml".as_ref(), &[]).unwrap_err();
//! assert!(error.to_string().contains("mine.yaml") && error.to_string().contains("unknown field `runs`"));
//! # Ok::<(), defusion_config::ConfigError>(())
//! ```
#![forbid(unsafe_code)]

mod cluster;
mod compare;
mod data;
mod degradation;
mod error;
pub mod hardware;
mod load;
mod load_yaml;
mod model;
pub mod protocol;
mod run;
pub mod schema;
mod stage;
pub mod synthesis;
mod validate;

pub use cluster::{Cluster, Device, Host};
pub use compare::Difference;
pub use data::{Data, DatasetUse, GroundKind, Grounds, Loader, RemoteCache, TargetMix};
pub use degradation::{Degradation, ParseDegradationError};
pub use error::ConfigError;
pub use load::{Override, Resolved};
pub use model::{AdapterArch, BridgeArch, DiscriminatorArch, Model, TokenizerArch, UnetArch};
pub use run::{Checkpoints, Evaluation, Monitor};
pub use stage::{
    ActivationCheckpointing, Adam, Arithmetic, BetaSchedule, CodebookLoss, DiffusionStage, LearningRate,
    ParsePrecisionError, Precision, Prediction, Sampler, Stage, StepOptions, TokenizerStage,
};
pub use synthesis::{Severity, Synthesis};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One whole training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of the run, shown in logs and TensorBoard.
    pub name: String,
    /// Run folder: a path (relative to the working directory) or any object_store URL (`s3://`, `gs://`, `az://`, `file://`).
    pub run: String,
    /// Seed of everything random. Sample `i` is a pure function of (seed, i).
    #[serde(default)]
    pub seed: u64,
    /// Where the workers run.
    #[serde(default)]
    pub cluster: Cluster,
    /// What the samples are made of.
    pub data: Data,
    /// The networks' shapes.
    #[serde(default)]
    pub model: Model,
    /// Stage 1: the VQ degradation tokenizer.
    #[serde(default)]
    pub tokenizer: TokenizerStage,
    /// Stage 2: the degradation diffusion U-Net.
    #[serde(default)]
    pub diffusion: DiffusionStage,
    /// When checkpoints are taken and which are kept.
    #[serde(default)]
    pub checkpoints: Checkpoints,
    /// Logging, TensorBoard, image grids.
    #[serde(default)]
    pub monitor: Monitor,
    /// `defusion evaluate` and validation within training.
    #[serde(default)]
    pub evaluation: Evaluation,
}

impl Config {
    /// Returns how a step of one stage is computed.
    pub fn step(&self, stage: Stage) -> &StepOptions {
        match stage {
            Stage::Tokenizer => &self.tokenizer.step,
            Stage::Diffusion => &self.diffusion.step,
        }
    }

    /// Returns the same to be changed.
    pub fn step_mut(&mut self, stage: Stage) -> &mut StepOptions {
        match stage {
            Stage::Tokenizer => &mut self.tokenizer.step,
            Stage::Diffusion => &mut self.diffusion.step,
        }
    }

    /// Replaces a precision of `auto` in each stage: by what the config `recorded` in the run folder has, or in a new run by
    /// what suits a device that multiplies bfloat16 natively, or does not.
    pub fn settle_precision(&mut self, recorded: Option<&Self>, native: bool) {
        for stage in Stage::BOTH {
            let recorded = recorded.and_then(|config| config.step(stage).precision.settled());
            let precision = &mut self.step_mut(stage).precision;
            *precision = match (*precision, recorded) {
                (Precision::Auto, Some(recorded)) => recorded.into(),
                (asked, _) => asked.resolve(native).into(),
            };
        }
    }
}
