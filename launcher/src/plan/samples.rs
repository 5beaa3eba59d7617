//! What a run is trained on.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use defusion_config::{Config, Degradation};
use defusion_datasets::ShardManifest;
use defusion_datasets::shard_manifest::{MANIFEST, MAX_BYTES};
use serde::Serialize;

/// The mixture of datasets.
#[derive(Clone, Debug, Serialize)]
pub struct Samples {
    /// Folder or URL of the shards.
    pub shards: String,
    /// Side of a crop, pixels.
    pub crop: u32,
    /// Side of an instruction, pixels.
    pub instruction: u32,
    /// The datasets, in the config's order.
    pub datasets: Vec<DatasetShare>,
}

/// One dataset's part in the mixture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DatasetShare {
    /// Name of the dataset.
    pub name: String,
    /// How many of a thousand samples are of it.
    pub per_thousand: f64,
    /// How many samples of the second stage are of it.
    pub samples: u64,
    /// Chains of synthetic degradations, one drawn per sample; empty: its own pairs.
    pub synthesize: Vec<Vec<Degradation>>,
    /// Whether it is prepared; `None` if that cannot be seen from here (remote shards).
    pub prepared: Option<bool>,
    /// Number of its training images, if it is prepared on this host.
    pub images: Option<u64>,
    /// How often each image is shown in the second stage, on average.
    pub epochs: Option<f64>,
}

impl Samples {
    /// Works out the mixture of a valid config. Reads the datasets' manifests if the shards are on this host; also returns a
    /// warning for each that cannot be used.
    pub fn new(config: &Config) -> (Self, Vec<String>) {
        let mut warnings = Vec::new();
        let data = &config.data;
        let total: f64 = data.datasets.iter().map(|set| set.weight).sum();
        let samples = config.diffusion.iterations.saturating_mul(config.diffusion.global_batch);
        let datasets = data.datasets.iter().map(|set| {
            let share = set.weight / total;
            let samples = (share * samples as f64).round() as u64;
            let folder = super::local::local(&data.shards).map(|shards| shards.join(&set.name));
            let images = folder.as_ref().and_then(|folder| training_images(folder, &mut warnings));
            DatasetShare {
                name: set.name.clone(),
                per_thousand: 1000.0 * share,
                samples,
                synthesize: set.synthesize.clone(),
                prepared: folder.map(|_| images.is_some()),
                images,
                epochs: images.filter(|n| *n > 0).map(|n| samples as f64 / n as f64),
            }
        });
        let datasets = datasets.collect();
        (Self { shards: data.shards.clone(), crop: data.crop, instruction: data.grounds.size, datasets }, warnings)
    }
}

/// Counts the training images of a dataset in a folder of this host. `None` if there is no manifest, or none that can be
/// used; the latter is a warning.
fn training_images(folder: &Path, warnings: &mut Vec<String>) -> Option<u64> {
    let path = folder.join(MANIFEST);
    let mut json = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut json));
    let problem = match read {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => format!("cannot be read: {error}"),
        Ok(_) => match ShardManifest::parse(&json) {
            Ok(manifest) => return Some(manifest.rows_of("train")),
            Err(error) => error.to_string(),
        },
    };
    warnings.push(format!("{}: {problem}", path.display()));
    None
}
