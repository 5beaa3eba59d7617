//! The two training stages.

use serde::{Deserialize, Serialize};

/// Which of the two stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Stage 1: VQ degradation tokenizer.
    Tokenizer,
    /// Stage 2: degradation diffusion.
    Diffusion,
}

impl Stage {
    /// `tokenizer` or `diffusion`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tokenizer => "tokenizer",
            Self::Diffusion => "diffusion",
        }
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// Arithmetic of forward and backward. Weights, gradients and optimizer state are float32 always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// float32 throughout.
    Fp32,
    /// bfloat16 autocast.
    Bf16,
}

/// What is recomputed in backward instead of kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// How one optimizer step is computed, whatever the stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StepOptions {
    /// Micro-batches per step and worker.
    pub accumulation: u32,
    /// Arithmetic.
    pub precision: Precision,
    /// NHWC memory format for convolutions.
    pub channels_last: bool,
    /// Recomputation.
    pub activation_checkpointing: ActivationCheckpointing,
    /// What may be kept for backward where that is `budget`, GiB a worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation_gib: Option<f64>,
    /// Size of an all-reduce bucket, MiB.
    pub bucket_mib: f64,
    /// Non-finite steps in a row after which the run stops.
    pub max_nonfinite: u32,
}

impl Default for StepOptions {
    fn default() -> Self {
        Self {
            accumulation: 1,
            precision: Precision::Bf16,
            channels_last: true,
            activation_checkpointing: ActivationCheckpointing::None,
            activation_gib: None,
            bucket_mib: 25.0,
            max_nonfinite: 10,
        }
    }
}

/// Learning rate as a pure function of the step: linear warm-up, then a cosine to `min`, or constant where `min` is
/// unset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearningRate {
    /// Highest rate.
    pub base: f64,
    /// Rate at the last step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Steps of linear warm-up.
    #[serde(default)]
    pub warmup: u64,
}

impl LearningRate {
    /// The rate for step `step` (from 0) of `iterations`.
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adam {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the denominator.
    #[serde(default = "default_eps")]
    pub eps: f64,
    /// Decoupled weight decay.
    #[serde(default)]
    pub weight_decay: f64,
}

fn default_eps() -> f64 {
    1e-8
}

/// Which term of the VQ loss the factor 0.25 is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CodebookLoss {
    /// On the codebook term, as taming-transformers' published weights were trained.
    #[default]
    Legacy,
    /// On the encoder's commitment term, as VQ-VAE says.
    Corrected,
}

/// Stage 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenizerStage {
    /// Optimizer steps. 0: the stage is skipped and `pretrained` must be set.
    pub iterations: u64,
    /// Instructions per step over all workers.
    pub global_batch: u64,
    /// Learning rate of both networks.
    pub lr: LearningRate,
    /// Both optimizers.
    pub adam: Adam,
    /// Share of inputs that are the clean ground.
    pub clean_ground: f64,
    /// Weight of the LPIPS loss; 0 leaves it out and needs no weights.
    pub perceptual_weight: f64,
    /// LPIPS VGG16 weights (safetensors), needed where `perceptual_weight` is above 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub perceptual_weights: Option<String>,
    /// L1 instead of MSE for the pixel loss.
    pub pixel_l1: bool,
    /// Weight of the VQ loss.
    pub codebook_weight: f64,
    /// Which VQ loss.
    pub codebook_loss: CodebookLoss,
    /// Weight of the adversarial loss, before its adaptive factor.
    pub adversarial_weight: f64,
    /// First step with the adversarial loss and the discriminator's training.
    pub disc_start: u64,
    /// Decay of the weights' moving average, which the second stage uses.
    pub ema_decay: f64,
    /// Tokenizer to start from: a file of `defusion export`, or safetensors with taming's names; and its discriminator
    /// where the file holds one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pretrained: Option<String>,
    /// How a step is computed.
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
            disc_start: 10_000,
            ema_decay: 0.999,
            pretrained: None,
            step: StepOptions::default(),
        }
    }
}

/// The noise schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BetaSchedule {
    /// beta from 1e-4 to 0.02 (DDPM).
    #[default]
    Linear,
    /// Cosine of alphas_cumprod (Improved DDPM).
    Cosine,
}

/// How pictures are restored: DDIM over explicit timesteps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sampler {
    /// Timesteps, from noisy to clean; the first is where y_T starts.
    pub timesteps: Vec<i64>,
    /// 0 is deterministic.
    pub eta: f64,
    /// Clip y0 to [x_LQ - 1, x_LQ + 1], so that the restored picture is in range; otherwise to [-2, 2].
    pub clip_to_picture: bool,
    /// Tile side for pictures larger than it, pixels.
    pub tile: u32,
    /// Distance between tiles, pixels.
    pub tile_stride: u32,
}

impl Default for Sampler {
    fn default() -> Self {
        Self { timesteps: vec![800, 600, 400, 200], eta: 0.0, clip_to_picture: true, tile: 256, tile_stride: 192 }
    }
}

/// Stage 2.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiffusionStage {
    /// Optimizer steps.
    pub iterations: u64,
    /// Samples per step over all workers; the same at any world size.
    pub global_batch: u64,
    /// Learning rate.
    pub lr: LearningRate,
    /// Optimizer.
    pub adam: Adam,
    /// Largest global norm of the gradient; 0: no clipping.
    pub clip_norm: f64,
    /// Decay of the weights' moving average, which is evaluated and exported.
    pub ema_decay: f64,
    /// Number of diffusion steps.
    pub timesteps: i64,
    /// Noise schedule.
    pub schedule: BetaSchedule,
    /// Sampler for validation, evaluation and restoring.
    pub sampler: Sampler,
    /// What to start from: a file of `defusion export`, with bridge and adapter, or safetensors with guided-diffusion's
    /// names, the U-Net alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pretrained: Option<String>,
    /// How a step is computed.
    pub step: StepOptions,
}

impl Default for DiffusionStage {
    fn default() -> Self {
        Self {
            iterations: 600_000,
            global_batch: 32,
            lr: LearningRate { base: 1e-4, min: Some(1e-6), warmup: 0 },
            adam: Adam { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.0 },
            clip_norm: 1.0,
            ema_decay: 0.9999,
            timesteps: 1000,
            schedule: BetaSchedule::Linear,
            sampler: Sampler::default(),
            pretrained: None,
            step: StepOptions::default(),
        }
    }
}
