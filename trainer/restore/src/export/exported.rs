//! Reading exported weights back: from a file, or straight from a run.

use std::path::Path;

use defusion_checkpoint::{RunFolder, Snapshot};
use defusion_config::{Config, Resolved};
use defusion_model::weights::WeightsFile;
use tch::Device;

use super::groups::AVERAGED;
use super::{Export, ExportError, FORMAT, FORMAT_VERSION, Part};
use crate::Networks;

/// Where weights come from, as their file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Exported {
    /// The run's config, without hosts and caches.
    pub config: Config,
    /// Digest of the run's whole config.
    pub config_digest: String,
    /// The run folder.
    pub run: String,
    /// The checkpoint.
    pub checkpoint: String,
    /// Steps of its stage that were complete.
    pub step: u64,
}

impl Exported {
    /// Loads an exported file: the networks of its config, with its weights.
    ///
    /// # Errors
    /// [`ExportError`], which names the file.
    pub fn open(path: &Path, device: Device) -> Result<(Self, Networks), ExportError> {
        let file = WeightsFile::open(path)?;
        let missing = |message: &str| ExportError::NotExported { path: path.to_owned(), message: message.to_owned() };
        let get = |key: &str| file.metadata(key).ok_or_else(|| missing(&format!("its metadata has no `{key}`")));
        if get("format")? != FORMAT || get("format_version")? != FORMAT_VERSION {
            return Err(missing(&format!("it is not of format {FORMAT} {FORMAT_VERSION}")));
        }
        let config = Resolved::parse(get("config")?, path, &[])
            .map_err(|source| ExportError::Config { path: path.to_owned(), source })?
            .config;
        let step = get("step")?.parse().map_err(|_| missing("`step` in its metadata is no number"))?;
        let exported = Self {
            config_digest: get("config_digest")?.to_owned(),
            run: get("run")?.to_owned(),
            checkpoint: get("checkpoint")?.to_owned(),
            step,
            config,
        };
        let networks = Networks::new(&exported.config, device);
        file.fill(networks.store(), "")?;
        Ok((exported, networks))
    }

    /// As [`Exported::open`], straight from a run's newest sound checkpoint.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn of_run(run: &RunFolder, device: Device) -> Result<(Self, Networks), ExportError> {
        let Export { checkpoint, tensors, mut metadata, config } = Export::of_run(run, None, Part::Whole)?;
        let networks = Networks::new(&config, device);
        let mut snapshot = Snapshot::new(checkpoint.stage, checkpoint.step);
        snapshot.insert(AVERAGED, tensors);
        snapshot.copy_into(AVERAGED, networks.store().variables())?;
        let mut take = |key: &str| metadata.remove(key).unwrap_or_default();
        let exported = Self {
            config_digest: take("config_digest"),
            run: take("run"),
            checkpoint: checkpoint.to_string(),
            step: checkpoint.step,
            config,
        };
        Ok((exported, networks))
    }
}
