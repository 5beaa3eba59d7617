//! What the samples are made of.

use serde::{Deserialize, Serialize};

use crate::{Degradation, Synthesis};

/// Datasets, crops, targets, instructions and the loader.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Folder or object_store URL that holds one folder of shards per dataset.
    pub shards: String,
    /// The datasets trained on. The order is part of the sampling plan.
    pub datasets: Vec<DatasetUse>,
    /// Side of the square training crop, pixels.
    #[serde(default = "default_crop")]
    pub crop: u32,
    /// Flip horizontally and vertically at random.
    #[serde(default = "default_true")]
    pub flips: bool,
    /// How often the instruction names all, some, more or none of the degradations present.
    #[serde(default)]
    pub targets: TargetMix,
    /// Visual grounds.
    #[serde(default)]
    pub grounds: Grounds,
    /// Parameter ranges of synthetic degradations.
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetUse {
    /// Name of the dataset: its descriptor and its folder under `shards`.
    pub name: String,
    /// Share of the samples, relative to the other weights.
    #[serde(default = "default_weight")]
    pub weight: f64,
    /// Chains of degradations applied, in order, to the clean image; one chain is drawn per sample. Empty: the
    /// dataset's own degraded images are used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub synthesize: Vec<Vec<Degradation>>,
}

fn default_weight() -> f64 {
    1.0
}

/// Shares of the four kinds of indicated set S, for a picture with degradations D. They are normalised to sum to one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TargetMix {
    /// S = D.
    pub all: f64,
    /// S a strict non-empty subset of D (all, where D has one element, or is of a real picture whose scene is not there
    /// with the rest of D only: RainDS has such scenes).
    pub subset: f64,
    /// S a strict superset of D.
    pub superset: f64,
    /// S and D disjoint: nothing is to be removed, y0 = 0.
    pub disjoint: f64,
}

impl Default for TargetMix {
    fn default() -> Self {
        Self { all: 0.70, subset: 0.15, superset: 0.05, disjoint: 0.10 }
    }
}

/// Which visual ground instructions are drawn on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroundKind {
    /// Four quadrants, one element of each pool (paper, section 4).
    #[default]
    Composed,
    /// A grey flat (ablation).
    Blank,
    /// Black and white stripes of period 32 px (ablation).
    Simple,
}

/// Visual grounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grounds {
    /// What they show.
    pub kind: GroundKind,
    /// Folder of natural-texture pictures (PNG or JPEG). Unset: crops of the training set's clean images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub natural: Option<String>,
    /// Folder of the user's own chart crops, drawn beside the procedural elements of the regular pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub charts: Option<String>,
    /// Side of the canvas, pixels; two quadrants across.
    pub canvas: u32,
    /// Side of the crop that is the instruction, pixels.
    pub size: u32,
}

impl Default for Grounds {
    fn default() -> Self {
        Self { kind: GroundKind::Composed, natural: None, charts: None, canvas: 256, size: 224 }
    }
}

/// Threads and queues of one worker's loader.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Loader {
    /// Threads that make samples; 0: the worker's share of the cores, less one, and at least one.
    pub threads: u32,
    /// Finished batches held ready.
    pub prefetch: u32,
    /// Samples of one dataset among which a shard's rows are shuffled.
    pub shuffle_window: u32,
}

impl Default for Loader {
    fn default() -> Self {
        Self { threads: 0, prefetch: 4, shuffle_window: 16384 }
    }
}

/// Local cache of remote shards, shared by the workers of a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RemoteCache {
    /// Folder of the cache. Unset: `defusion-shards` in the system's temporary folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    /// Bound of its size, GiB.
    pub max_gib: f64,
}

impl Default for RemoteCache {
    fn default() -> Self {
        Self { dir: None, max_gib: 512.0 }
    }
}
