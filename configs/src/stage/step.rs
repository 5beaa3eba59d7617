//! How one optimizer step is computed, whatever the stage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::precision::Precision;

/// What is recomputed in backward instead of kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ActivationCheckpointing {
    /// Keep everything.
    None,
    /// Recompute every ResBlock and attention block.
    Block,
    /// Recompute blocks, the narrow ones first, until what is kept fits `activation_gib`: recomputing costs time with the
    /// square of a block's width, but saves memory only with the width itself.
    Budget,
}

/// Arithmetic, memory and communication of an optimizer step; both stages have the same keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StepOptions {
    /// Micro-batches per step and worker. Workers times micro-batches divide `global_batch`.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub accumulation: u32,
    /// Arithmetic of forward and backward. Weights, gradients and optimizer state are float32 always.
    pub precision: Precision,
    /// NHWC memory format for convolutions.
    pub channels_last: bool,
    /// What is recomputed in backward instead of kept.
    pub activation_checkpointing: ActivationCheckpointing,
    /// What may be kept for backward, GiB per worker. Must be given if `activation_checkpointing` is `budget`, and must be
    /// unset otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub activation_gib: Option<f64>,
    /// Size of an all-reduce bucket, MiB (PyTorch's DistributedDataParallel has the same).
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub bucket_mib: f64,
    /// Steps in a row with a non-finite gradient after which the run stops.
    #[schemars(range(min = 1))]
    pub max_nonfinite: u32,
}

impl Default for StepOptions {
    fn default() -> Self {
        Self {
            accumulation: 1,
            precision: Precision::Auto,
            channels_last: true,
            activation_checkpointing: ActivationCheckpointing::None,
            activation_gib: None,
            bucket_mib: 25.0,
            max_nonfinite: 10,
        }
    }
}

/// Learning rate as a pure function of the step: linear warm-up, then a cosine to `min`, or constant if `min` is unset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LearningRate {
    /// Highest rate.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub base: f64,
    /// Rate at the last step, at most `base`. Unset: the rate stays at `base`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub min: Option<f64>,
    /// Steps of linear warm-up, fewer than `iterations`.
    #[serde(default)]
    pub warmup: u64,
}

impl LearningRate {
    /// Returns the rate for step `step` (from 0) of `iterations`.
    pub fn at(&self, step: u64, iterations: u64) -> f64 {
        if step < self.warmup {
            return self.base * (step + 1) as f64 / self.warmup as f64;
        }
        let Some(min) = self.min else { return self.base };
        let done = (step - self.warmup) as f64 / (iterations.saturating_sub(self.warmup).max(1)) as f64;
        min + 0.5 * (self.base - min) * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos())
    }
}

/// Adam or AdamW (they are the same at weight decay 0).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Adam {
    /// Decay of the first moment.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub beta1: f64,
    /// Decay of the second moment.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub beta2: f64,
    /// Number added to the denominator.
    #[serde(default = "default_eps")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub eps: f64,
    /// Decoupled weight decay.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub weight_decay: f64,
}

fn default_eps() -> f64 {
    1e-8
}
