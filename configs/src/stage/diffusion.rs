//! Stage 2: training the degradation diffusion.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Adam, LearningRate, StepOptions};

/// The noise schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BetaSchedule {
    /// beta from 1e-4 to 0.02 (DDPM).
    #[default]
    Linear,
    /// Cosine of alphas_cumprod (Improved DDPM).
    Cosine,
}

/// What the U-Net is trained to predict of `y_t = sqrt(alphas_cumprod) y_0 + sqrt(1 - alphas_cumprod) eps`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Prediction {
    /// The noise (paper, equation 11; DDPM). At much noise an error in it is a large one in y_0: meant for networks that
    /// start from pretrained weights.
    #[default]
    Eps,
    /// `sqrt(alphas_cumprod) eps - sqrt(1 - alphas_cumprod) y_0` (Salimans and Ho 2022).
    V,
    /// The degradation y_0 itself.
    Y0,
}

/// How images are restored in validation, evaluation and `defusion restore`: DDIM over explicit timesteps. The paper takes
/// four and states neither which nor eta.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sampler {
    /// Timesteps, from noisy to clean, each below `diffusion.timesteps`; the first is where y_T starts.
    pub timesteps: Vec<i64>,
    /// Share of the noise that DDIM adds at each timestep; 0 is deterministic.
    #[schemars(range(min = 0, max = 1))]
    pub eta: f64,
    /// Clip y0 to [x_LQ - 1, x_LQ + 1], so that the restored image is in range; false: to [-2, 2]. Recipes may still call it
    /// `clip_to_picture`.
    #[serde(alias = "clip_to_picture")]
    pub clip_to_image: bool,
    /// Side of the tiles that larger images are cut into, pixels. A multiple of 2^(levels - 1) of the U-Net: of 32 for six
    /// levels.
    #[schemars(range(min = 1, max = 8192))]
    pub tile: u32,
    /// Distance between tiles, pixels; at most `tile`.
    #[schemars(range(min = 1))]
    pub tile_stride: u32,
}

impl Default for Sampler {
    fn default() -> Self {
        Self { timesteps: vec![800, 600, 400, 200], eta: 0.0, clip_to_image: true, tile: 256, tile_stride: 192 }
    }
}

/// Stage 2: the degradation diffusion U-Net with bridge and adapter (paper, section 3.2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DiffusionStage {
    /// Optimizer steps (paper, section 8). 600,000 of 32 crops are 100 epochs of 192,000 crops.
    #[schemars(range(max = 1_099_511_627_776u64))]
    pub iterations: u64,
    /// Samples per step over all workers (paper, section 8); the same at any world size.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub global_batch: u64,
    /// Learning rate of U-Net, bridge and adapter (paper, section 8: 1e-4 to 1e-6, cosine).
    pub lr: LearningRate,
    /// Optimizer of U-Net, bridge and adapter (paper, section 8: AdamW with 0.9 and 0.99).
    pub adam: Adam,
    /// Largest global norm of the gradient; 0: no clipping.
    #[schemars(range(min = 0))]
    pub clip_norm: f64,
    /// Decay of the weights' moving average, which is evaluated and exported.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub ema_decay: f64,
    /// Number of diffusion steps (DDPM).
    #[schemars(range(min = 1, max = 1_000_000))]
    pub timesteps: i64,
    /// The noise schedule.
    pub schedule: BetaSchedule,
    /// What the U-Net predicts (paper, equation 11: the noise).
    #[serde(skip_serializing_if = "is_default")]
    pub prediction: Prediction,
    /// Min-SNR loss weighting (Hang et al. 2023, section 3.4: 5): timesteps whose signal-to-noise ratio in power is above
    /// this weigh as if it were this. 0: every timestep weighs alike in the error of what is predicted.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "is_default")]
    pub min_snr_gamma: f64,
    /// How images are restored.
    pub sampler: Sampler,
    /// File to start from: one of `defusion export`, with bridge and adapter, or safetensors with guided-diffusion's names,
    /// the U-Net alone. Unset: random weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pretrained: Option<String>,
    /// How a step of the U-Net's training is computed.
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
            prediction: Prediction::Eps,
            min_snr_gamma: 0.0,
            sampler: Sampler::default(),
            pretrained: None,
            step: StepOptions::default(),
        }
    }
}

/// Keys that came later are left out of the digest while they have their default: runs from before go on.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
