//! The two training stages.

mod diffusion;
mod precision;
mod step;
mod tokenizer;

use serde::{Deserialize, Serialize};

pub use diffusion::{BetaSchedule, DiffusionStage, Prediction, Sampler};
pub use precision::{Arithmetic, ParsePrecisionError, Precision};
pub use step::{ActivationCheckpointing, Adam, LearningRate, StepOptions};
pub use tokenizer::{CodebookLoss, TokenizerStage};

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
    /// Both stages, in their order.
    pub const BOTH: [Self; 2] = [Self::Tokenizer, Self::Diffusion];

    /// Returns `tokenizer` or `diffusion`.
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
