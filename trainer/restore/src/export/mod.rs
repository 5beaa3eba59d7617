//! One file of weights out of a run: what restoring needs, and nothing of training.
//!
//! `tokenizer.*` are the tokenizer's averaged weights under taming-transformers' names, `unet.*` the averaged U-Net under
//! guided-diffusion's, `bridge.*` and `adapter.*` what Defusion adds. The metadata holds the whole config, so the file
//! needs no other. With [`Part::Tokenizer`] or [`Part::Unet`] the file holds that network alone, without prefix, as other
//! programs expect it.

mod error;
mod exported;
mod groups;

use std::collections::BTreeMap;
use std::path::Path;

use defusion_checkpoint::{CheckpointId, RunFolder};
use defusion_config::{Config, RemoteCache, Resolved};
use defusion_model::weights::{self, WeightsError};
use tch::Tensor;

pub use error::ExportError;
pub use exported::Exported;

/// Version of the layout of exported files.
pub const FORMAT_VERSION: &str = "1";
/// Value of the metadata key `format`.
const FORMAT: &str = "defusion";

/// What of the networks is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// All that restoring needs.
    #[default]
    Whole,
    /// The tokenizer under taming-transformers' names.
    Tokenizer,
    /// The U-Net under guided-diffusion's names.
    Unet,
}

/// Weights and metadata, ready to be written or used.
#[derive(Debug)]
pub struct Export {
    /// The checkpoint that they come from.
    pub checkpoint: CheckpointId,
    /// Tensors by the names of the file.
    pub tensors: BTreeMap<String, Tensor>,
    /// The file's metadata.
    pub metadata: BTreeMap<String, String>,
    config: Config,
}

impl Export {
    /// Takes `part` out of a checkpoint of `run`: the one named, or the newest whose weights are sound.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn of_run(run: &RunFolder, checkpoint: Option<CheckpointId>, part: Part) -> Result<Self, ExportError> {
        let resolved = run.config()?;
        let (id, snapshot) = groups::load(run, checkpoint, part)?;
        let tensors = groups::tensors(snapshot, part);
        let (_, manifest_sha256) = run.manifest(id)?;
        let mut config = resolved.config.clone();
        // Hosts and folders of the machines it was trained on are nobody's business.
        config.cluster.hosts.clear();
        config.cluster.mpirun_args.clear();
        config.data.cache = RemoteCache::default();
        let public = Resolved { config, path: resolved.path.clone() };
        let yaml = public.to_yaml().map_err(|source| ExportError::Config { path: resolved.path.clone(), source })?;
        let metadata = [
            ("format", FORMAT.to_owned()),
            ("format_version", FORMAT_VERSION.to_owned()),
            ("config", yaml),
            ("config_digest", resolved.digest()),
            ("run", run.url().to_owned()),
            ("checkpoint", id.to_string()),
            ("checkpoint_manifest_sha256", manifest_sha256),
            ("stage", id.stage.to_string()),
            ("step", id.step.to_string()),
        ];
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value)).into_iter().collect();
        Ok(Self { checkpoint: id, tensors, metadata, config: public.config })
    }

    /// Writes the file, as a whole or not at all.
    ///
    /// # Errors
    /// [`WeightsError`].
    pub fn write(&self, path: &Path) -> Result<(), WeightsError> {
        weights::write(path, &self.tensors, &self.metadata)
    }
}
