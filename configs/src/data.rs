//! What the samples are made of.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Degradation, Synthesis};

/// Datasets, crops, targets, visual grounds and the loader.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Folder or object_store URL that holds one folder of shards per dataset.
    pub shards: String,
    /// The datasets trained on, at least one (the paper's list: sections 4.1 and 7). Their order is part of the sampling
    /// plan.
    pub datasets: Vec<DatasetUse>,
    /// Side of the square training crop, pixels (paper, section 8). A multiple of 2^(levels - 1) of the U-Net: of 32 for six
    /// levels.
    #[serde(default = "default_crop")]
    #[schemars(range(min = 1, max = 8192))]
    pub crop: u32,
    /// Flip crops horizontally and vertically at random (paper, section 8).
    #[serde(default = "default_true")]
    pub flips: bool,
    /// How often the instruction names all, some, more or none of the degradations present.
    #[serde(default)]
    pub targets: TargetMix,
    /// The images that visual instructions are made from.
    #[serde(default)]
    pub grounds: Grounds,
    /// The ranges that parameters of synthetic degradations are drawn from.
    #[serde(default)]
    pub synthesis: Synthesis,
    /// Compare the sha256 of every shard on a disk with its manifest before training starts: each host all of what it
    /// sees, its workers sharing the work, as no host can know that its disk is another's too. Remote shards are
    /// compared when they are fetched, whatever this says.
    #[serde(default = "default_true")]
    pub verify_shards: bool,
    /// Threads and queues.
    #[serde(default)]
    pub loader: Loader,
    /// Local cache of remote shards.
    #[serde(default)]
    pub cache: RemoteCache,
}

fn default_crop() -> u32 {
    256
}

fn default_true() -> bool {
    true
}

/// One dataset of the mixture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatasetUse {
    /// Name of the dataset: its descriptor and its folder under `data.shards`. Letters, digits, `-`, `_` and `.`, the first a
    /// letter or digit.
    pub name: String,
    /// Share of the samples, relative to the other weights. Equal weights balance how often each dataset is seen (paper,
    /// section 8). Only 1 is allowed in `evaluation.datasets`.
    #[serde(default = "default_weight")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub weight: f64,
    /// Chains of degradations applied, in order, to the clean image; one chain is drawn per sample, and names no category
    /// twice. Empty: the dataset's own degraded images are used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub synthesize: Vec<Vec<Degradation>>,
}

fn default_weight() -> f64 {
    1.0
}

/// How often the instruction names all, some, more or none of the degradations present: shares of the four kinds of
/// indicated set S, for an image with degradations D. They are normalised to sum to one; at
/// least one is above 0. The paper states no shares: these are this project's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TargetMix {
    /// Share of S = D: everything is to be removed.
    #[schemars(range(min = 0))]
    pub all: f64,
    /// Share of S a strict non-empty subset of D. S is D instead if D has one element, or if the image is real and its
    /// dataset lacks the same scene with the rest of D only (RainDS has such scenes).
    #[schemars(range(min = 0))]
    pub subset: f64,
    /// Share of S a strict superset of D.
    #[schemars(range(min = 0))]
    pub superset: f64,
    /// Share of S and D disjoint: nothing is to be removed, y0 = 0.
    #[schemars(range(min = 0))]
    pub disjoint: f64,
}

impl Default for TargetMix {
    fn default() -> Self {
        Self { all: 0.70, subset: 0.15, superset: 0.05, disjoint: 0.10 }
    }
}

/// What visual instructions are drawn on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GroundKind {
    /// Four quadrants, one element of each pool (paper, section 3.1).
    #[default]
    Composed,
    /// A grey flat (ablation: paper, section 4.3).
    Blank,
    /// Black and white stripes of period 32 px (ablation: paper, section 4.3).
    Simple,
}

/// Visual grounds: the charts and textures that visual instructions show degradations on (paper, section 3.1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Grounds {
    /// What they show.
    pub kind: GroundKind,
    /// Folder of natural-texture images (PNG or JPEG). Unset: crops of the training set's clean images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub natural: Option<String>,
    /// Folder of chart crops of your own, drawn beside the procedural elements of the regular pool. Unset: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub charts: Option<String>,
    /// Side of the canvas, pixels; two quadrants across. Even, and at least `size`.
    #[schemars(range(min = 2, max = 8192))]
    pub canvas: u32,
    /// Side of the crop that is the instruction, pixels (paper, section 3.1). A multiple of 2^(levels - 1) of the tokenizer:
    /// of 16 for five levels.
    #[schemars(range(min = 1, max = 8192))]
    pub size: u32,
}

impl Default for Grounds {
    fn default() -> Self {
        Self { kind: GroundKind::Composed, natural: None, charts: None, canvas: 256, size: 224 }
    }
}

/// Threads and queues of one worker's loader.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Loader {
    /// Threads that make samples; 0: the worker's share of the cores, less one, and at least one.
    #[schemars(range(max = 1024))]
    pub threads: u32,
    /// Finished batches held ready.
    #[schemars(range(min = 1, max = 1024))]
    pub prefetch: u32,
    /// Samples of one dataset among which a shard's rows are shuffled.
    #[schemars(range(min = 1))]
    pub shuffle_window: u32,
}

impl Default for Loader {
    fn default() -> Self {
        Self { threads: 0, prefetch: 4, shuffle_window: 16384 }
    }
}

/// Local cache of remote shards, shared by the workers of a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RemoteCache {
    /// Folder of the cache. Unset: `defusion-shards` in the system's temporary folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    /// Largest size of the cache, GiB.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub max_gib: f64,
}

impl Default for RemoteCache {
    fn default() -> Self {
        Self { dir: None, max_gib: 512.0 }
    }
}
