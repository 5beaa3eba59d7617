//! What a run is trained on.

use defusion_config::{Config, Degradation};
use serde::{Deserialize, Serialize};

/// The mixture.
#[derive(Clone, Debug, Serialize)]
pub struct Samples {
    /// Where the shards are.
    pub shards: String,
    /// Side of a crop, pixels.
    pub crop: u32,
    /// Side of an instruction, pixels.
    pub instruction: u32,
    /// The datasets, in the config's order.
    pub datasets: Vec<DatasetShare>,
}

/// One dataset's part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DatasetShare {
    /// Its name.
    pub name: String,
    /// Samples of it among a thousand.
    pub per_thousand: f64,
    /// Its samples in the second stage.
    pub samples: u64,
    /// Synthetic degradations, one chain drawn per sample; empty: its own pairs.
    pub synthesize: Vec<Vec<Degradation>>,
    /// Whether it is prepared; `None` where that cannot be seen from here (remote shards).
    pub prepared: Option<bool>,
    /// Its training images, where it is prepared.
    pub images: Option<u64>,
    /// How often each image is shown in the second stage, on average.
    pub passes: Option<f64>,
}

impl Samples {
    /// Of a valid config. Looks for manifests where the shards are on this host.
    pub fn new(config: &Config) -> Self {
        let data = &config.data;
        let total: f64 = data.datasets.iter().map(|set| set.weight).sum();
        let samples = config.diffusion.iterations.saturating_mul(config.diffusion.global_batch);
        let datasets = data.datasets.iter().map(|set| {
            let share = set.weight / total;
            let samples = (share * samples as f64).round() as u64;
            let folder = super::local(&data.shards).map(|shards| shards.join(&set.name));
            let images = folder.as_ref().and_then(|folder| training_images(&folder.join("manifest.json")));
            DatasetShare {
                name: set.name.clone(),
                per_thousand: 1000.0 * share,
                samples,
                synthesize: set.synthesize.clone(),
                prepared: folder.map(|_| images.is_some()),
                images,
                passes: images.filter(|n| *n > 0).map(|n| samples as f64 / n as f64),
            }
        });
        Self {
            shards: data.shards.clone(),
            crop: data.crop,
            instruction: data.grounds.size,
            datasets: datasets.collect(),
        }
    }
}

/// As much of a dataset's manifest as the plan needs; the data loader checks all of it.
#[derive(Deserialize)]
struct Manifest {
    shards: Vec<Shard>,
}

#[derive(Deserialize)]
struct Shard {
    split: String,
    rows: u64,
}

fn training_images(manifest: &std::path::Path) -> Option<u64> {
    let manifest: Manifest = serde_json::from_slice(&std::fs::read(manifest).ok()?).ok()?;
    Some(manifest.shards.iter().filter(|shard| shard.split == "train").map(|shard| shard.rows).sum())
}
