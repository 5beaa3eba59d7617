//! One file of weights out of a run: what restoring needs, and nothing of training.
//!
//! `tokenizer.*` are the tokenizer's averaged weights under taming-transformers' names, `unet.*` the averaged U-Net under
//! guided-diffusion's, `bridge.*` and `adapter.*` what Defusion adds. The metadata holds the whole config, so the file
//! needs no other. With [`Part::Tokenizer`] or [`Part::Unet`] the file holds that network alone, without prefix, as other
//! programs expect it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use defusion_config::{Config, ConfigError, Resolved, Stage};
use sha2::{Digest, Sha256};
use tch::{Device, Tensor};

use crate::checkpoint::{CheckpointError, CheckpointId, RunFolder, Snapshot};
use crate::restore::Networks;
use crate::weights::{self, WeightsError, WeightsFile};

/// Version of the layout of exported files.
pub const FORMAT_VERSION: &str = "1";
/// Value of the metadata key `format`.
const FORMAT: &str = "defusion";
/// Group of a checkpoint with the averaged weights of the stage's network.
const AVERAGED: &str = "ema";
/// Group of a diffusion checkpoint with the frozen tokenizer.
const TOKENIZER: &str = "tokenizer";

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The run folder cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A file of weights cannot be read or written.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The run is not that far.
    #[error("{run} has no checkpoint of the {stage} stage yet{hint}")]
    NoCheckpoint {
        /// The run folder.
        run: String,
        /// The stage needed.
        stage: Stage,
        /// What to do instead.
        hint: &'static str,
    },
    /// It exists already.
    #[error("{} exists; --force overwrites it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file that was not exported.
    #[error("{}: {message}; give a file that `defusion export` wrote without --tokenizer or --unet", path.display())]
    NotExported {
        /// The file.
        path: PathBuf,
        /// What is missing.
        message: String,
    },
    /// Its config cannot be used.
    #[error("{}: the config in its metadata: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ConfigError,
    },
}

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

/// Arguments of `defusion export`.
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// Run folder: a path or an object_store URL.
    #[arg(long)]
    pub run: String,
    /// File to write.
    #[arg(long)]
    pub to: PathBuf,
    /// A checkpoint by name; the newest sound one otherwise.
    #[arg(long)]
    pub checkpoint: Option<CheckpointId>,
    /// Only the tokenizer, under taming-transformers' names.
    #[arg(long, conflicts_with = "unet")]
    pub tokenizer: bool,
    /// Only the U-Net, under guided-diffusion's names.
    #[arg(long)]
    pub unet: bool,
    /// Replace the file if it exists.
    #[arg(long)]
    pub force: bool,
}

/// Exports a run's averaged weights and prints what was written.
///
/// # Errors
/// [`ExportError`]; a file that exists is untouched then.
pub fn run_export(args: &ExportArgs) -> Result<(), ExportError> {
    if !args.force && args.to.symlink_metadata().is_ok() {
        return Err(ExportError::Exists { path: args.to.clone() });
    }
    let part = match (args.tokenizer, args.unet) {
        (true, _) => Part::Tokenizer,
        (_, true) => Part::Unet,
        _ => Part::Whole,
    };
    let export = Export::of_run(&RunFolder::open(&args.run)?, args.checkpoint, part)?;
    if let Some(folder) = args.to.parent() {
        std::fs::create_dir_all(folder).map_err(|source| WeightsError::Io { path: folder.to_owned(), source })?;
    }
    export.write(&args.to)?;
    let values: usize = export.tensors.values().map(Tensor::numel).sum();
    println!("{}: {} tensors, {values} values, of {}", args.to.display(), export.tensors.len(), export.checkpoint);
    Ok(())
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
        let (id, snapshot) = load(run, checkpoint, part)?;
        let tensors = tensors(snapshot, part);
        let manifest =
            run.runtime().block_on(run.store().get_small(&format!("{}/manifest.json", id.folder()), 16 << 20));
        let manifest = manifest.map_err(CheckpointError::from)?.unwrap_or_default();
        let mut config = resolved.config.clone();
        // Hosts and folders of the machines it was trained on are nobody's business.
        config.cluster.hosts.clear();
        config.cluster.mpirun_args.clear();
        config.data.cache = defusion_config::RemoteCache::default();
        let public = Resolved { config, path: resolved.path.clone() };
        let yaml = public.to_yaml().map_err(|source| ExportError::Config { path: resolved.path.clone(), source })?;
        let metadata = [
            ("format", FORMAT.to_owned()),
            ("format_version", FORMAT_VERSION.to_owned()),
            ("config", yaml),
            ("config_digest", resolved.digest()),
            ("run", run.store().shown().to_owned()),
            ("checkpoint", id.to_string()),
            ("checkpoint_manifest_sha256", hex(&Sha256::digest(&manifest))),
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

/// The weights' groups of one checkpoint: the one named, or the newest that has `part` and is sound.
fn load(
    run: &RunFolder,
    checkpoint: Option<CheckpointId>,
    part: Part,
) -> Result<(CheckpointId, Snapshot), ExportError> {
    let groups = |id: CheckpointId| match id.stage {
        Stage::Tokenizer => &[AVERAGED][..],
        Stage::Diffusion => &[AVERAGED, TOKENIZER][..],
    };
    let enough = |id: &CheckpointId| part == Part::Tokenizer || id.stage == Stage::Diffusion;
    let no_checkpoint = |run: &RunFolder| {
        let (stage, hint) = match part {
            Part::Tokenizer => (Stage::Tokenizer, ""),
            _ => (Stage::Diffusion, "; --tokenizer exports what the first stage has made"),
        };
        ExportError::NoCheckpoint { run: run.store().shown().to_owned(), stage, hint }
    };
    if let Some(id) = checkpoint {
        return if enough(&id) { Ok((id, run.load_groups(id, groups(id))?)) } else { Err(no_checkpoint(run)) };
    }
    let mut newest_damage = None;
    for id in run.checkpoints()?.into_iter().filter(enough) {
        match run.load_groups(id, groups(id)) {
            Ok(snapshot) => return Ok((id, snapshot)),
            Err(error @ CheckpointError::Damaged { .. }) => {
                tracing::warn!("{error}; trying the one before");
                newest_damage.get_or_insert(error);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(newest_damage.map_or_else(|| no_checkpoint(run), ExportError::from))
}

/// The tensors of `part` under the names of its file.
fn tensors(mut snapshot: Snapshot, part: Part) -> BTreeMap<String, Tensor> {
    let mut take = |group: &str| snapshot.groups.remove(group).unwrap_or_default();
    match (part, snapshot.stage) {
        (Part::Tokenizer, Stage::Tokenizer) => take(AVERAGED),
        (Part::Tokenizer, Stage::Diffusion) => take(TOKENIZER),
        (Part::Unet, _) => take(AVERAGED)
            .into_iter()
            .filter_map(|(name, tensor)| Some((name.strip_prefix("unet.")?.to_owned(), tensor)))
            .collect(),
        (Part::Whole, _) => {
            let mut tensors = take(AVERAGED);
            tensors.extend(take(TOKENIZER).into_iter().map(|(name, tensor)| (format!("tokenizer.{name}"), tensor)));
            tensors
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
