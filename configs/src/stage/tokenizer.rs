//! Stage 1: training the VQ degradation tokenizer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Adam, LearningRate, StepOptions};

/// Which term of the VQ loss the factor 0.25 is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CodebookLoss {
    /// On the codebook term, as taming-transformers' published weights were trained.
    #[default]
    Legacy,
    /// On the encoder's commitment term, as the VQ-VAE paper says.
    Corrected,
}

/// Stage 1: the VQ degradation tokenizer (paper, section 3.1), trained as a VQGAN of taming-transformers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TokenizerStage {
    /// Optimizer steps (the paper states no number). 0: the stage is skipped and `pretrained` must be set.
    #[schemars(range(max = 1_099_511_627_776u64))]
    pub iterations: u64,
    /// Instructions per step over all workers (paper: 8).
    #[schemars(range(min = 1, max = 1_048_576))]
    pub global_batch: u64,
    /// Learning rate of both networks. taming-transformers' rule: 4.5e-6, the paper's number, for each image of the batch.
    pub lr: LearningRate,
    /// Both networks' optimizers (paper and taming-transformers: Adam with 0.5 and 0.9).
    pub adam: Adam,
    /// Share of inputs that are the clean ground (paper: 0.1).
    #[schemars(range(min = 0, max = 1))]
    pub clean_ground: f64,
    /// Weight of the LPIPS loss (paper and taming-transformers: 1); 0 leaves it out and needs no weights.
    #[schemars(range(min = 0))]
    pub perceptual_weight: f64,
    /// LPIPS VGG16 weights (safetensors; `scripts/lpips-weights` makes them). Needed if `perceptual_weight` is above 0 and
    /// the stage is not skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub perceptual_weights: Option<String>,
    /// L1 for the pixel loss, as in taming-transformers, instead of the paper's MSE.
    pub pixel_l1: bool,
    /// Weight of the VQ loss.
    #[schemars(range(min = 0))]
    pub codebook_weight: f64,
    /// Which term of the VQ loss the factor 0.25 is on.
    pub codebook_loss: CodebookLoss,
    /// Weight of the adversarial loss, before its adaptive factor (paper and taming-transformers: 0.8).
    #[schemars(range(min = 0))]
    pub adversarial_weight: f64,
    /// First step with the adversarial loss and the discriminator's training. Unset: 0 if the discriminator comes with
    /// `pretrained`, else 10,000 (taming-transformers' value for data of one's own).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disc_start: Option<u64>,
    /// Decay of the weights' moving average, which the second stage uses.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub ema_decay: f64,
    /// File to start from: one of `defusion export`, or safetensors with taming-transformers' names; the discriminator too
    /// if the file holds one. Unset: random weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pretrained: Option<String>,
    /// How a step of the tokenizer's training is computed.
    pub step: StepOptions,
}

impl Default for TokenizerStage {
    fn default() -> Self {
        Self {
            iterations: 100_000,
            global_batch: 8,
            lr: LearningRate { base: 3.6e-5, min: None, warmup: 0 },
            adam: Adam { beta1: 0.5, beta2: 0.9, eps: 1e-8, weight_decay: 0.0 },
            clean_ground: 0.1,
            perceptual_weight: 1.0,
            perceptual_weights: None,
            pixel_l1: false,
            codebook_weight: 1.0,
            codebook_loss: CodebookLoss::Legacy,
            adversarial_weight: 0.8,
            disc_start: None,
            ema_decay: 0.999,
            pretrained: None,
            step: StepOptions::default(),
        }
    }
}

impl TokenizerStage {
    /// `disc_start` of a recipe that does not say, for a fresh discriminator; digests have it too.
    pub(crate) const DISC_START: u64 = 10_000;

    /// Returns the first step with the adversarial loss, given whether the discriminator was imported.
    pub fn adversarial_from(&self, imported: bool) -> u64 {
        self.disc_start.unwrap_or(if imported { 0 } else { Self::DISC_START })
    }
}
