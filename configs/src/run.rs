//! Checkpoints, logging and evaluation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When checkpoints are taken and which are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Checkpoints {
    /// Steps between checkpoints. One more is taken at the end of each stage and when the run is asked to stop.
    #[schemars(range(min = 1))]
    pub every: u64,
    /// Number of newest verified checkpoints that are kept.
    #[schemars(range(min = 1))]
    pub keep: u32,
    /// Checkpoints at multiples of this step are kept for ever; 0: none. A multiple of `every`.
    pub keep_every: u64,
}

impl Default for Checkpoints {
    fn default() -> Self {
        Self { every: 5_000, keep: 3, keep_every: 100_000 }
    }
}

/// Logging, TensorBoard, image grids.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Monitor {
    /// Steps between log lines, scalars and JSON lines.
    #[schemars(range(min = 1))]
    pub log_every: u64,
    /// Steps between image grids; 0: none.
    pub images_every: u64,
}

impl Default for Monitor {
    fn default() -> Self {
        Self { log_every: 50, images_every: 5_000 }
    }
}

/// `defusion evaluate` and validation within training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Evaluation {
    /// Datasets (folders of shards beside the training ones) that are evaluated; training never reads them.
    pub datasets: Vec<crate::DatasetUse>,
    /// Images per dataset and degradation that `defusion evaluate` scores; 0: all.
    pub images: u64,
    /// Steps of the diffusion stage between validations within training; 0: none. Needs `datasets` if it is above 0.
    pub validate_every: u64,
    /// Images per dataset and degradation that a validation scores; 0: all.
    pub validate_images: u64,
    /// Side of the centre crops that are scored, pixels; 0: full frames.
    #[schemars(range(max = 8192))]
    pub crop: u32,
}

impl Default for Evaluation {
    fn default() -> Self {
        Self { datasets: Vec::new(), images: 0, validate_every: 0, validate_images: 8, crop: 0 }
    }
}
