//! The run folder: whose it is.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use defusion_config::{Config, Resolved, Stage};
use defusion_storage::{Store, StoreError};

use crate::attempt::Attempt;
use crate::changes::changes;
use crate::error::CheckpointError;
use crate::names::CheckpointId;
use crate::reader;

const CONFIG: &str = "config.yaml";
/// Largest config that is read, bytes.
const CONFIG_LIMIT: u64 = 1 << 20;
/// First line of `config.yaml`, before the digest.
const DIGEST_MARK: &str = "# digest: ";

/// A run folder. Clones are cheap and mean the same folder. Its calls block.
#[derive(Clone, Debug)]
pub struct RunFolder {
    pub(crate) store: Store,
    /// The digest under which the run is kept, once the folder has been entered.
    pub(crate) digest: Arc<OnceLock<String>>,
    /// Checkpoints found damaged, which retention does not count.
    pub(crate) damaged: Arc<Mutex<BTreeSet<CheckpointId>>>,
}

impl RunFolder {
    /// Means the folder at a path or URL (see [`Store::at`]). Nothing is read or written yet. Messages name a local folder
    /// by its absolute path.
    ///
    /// # Errors
    /// [`CheckpointError::Store`] for a URL that cannot be used.
    pub fn open(url: &str) -> Result<Self, CheckpointError> {
        let store = Store::at(url)?;
        Ok(Self::with_store(match store.local_path() {
            Some(path) => Store::at(&path.display().to_string())?,
            None => store,
        }))
    }

    /// Means the folder that a store at hand is.
    pub fn with_store(store: Store) -> Self {
        Self { store, digest: Arc::default(), damaged: Arc::default() }
    }

    /// The folder's store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The folder for messages: an absolute path, or a URL without credentials.
    pub fn url(&self) -> &str {
        self.store.url()
    }

    pub(crate) fn damaged(&self) -> Arc<Mutex<BTreeSet<CheckpointId>>> {
        Arc::clone(&self.damaged)
    }

    /// Makes sure that the folder is this config's: writes `config.yaml` into a new folder, compares digests in one that
    /// has it. Returns the digest under which the run is kept. Called by rank 0 before anything else is written.
    ///
    /// If they differ, the config in the folder is read anew and compared key by key: a key that a later version of this
    /// program adds with a default does not make an old run foreign, nor one that weights do not depend on, and a stage that
    /// has not ended may get more iterations.
    ///
    /// # Errors
    /// [`CheckpointError::OtherKeys`]; [`CheckpointError::OtherConfig`] if the folder's config cannot be read any more;
    /// [`CheckpointError::BadFile`] for a `config.yaml` that is not ours, or a folder that has checkpoints without one;
    /// [`CheckpointError::Store`]. Nothing is overwritten.
    pub fn enter(&self, config: &Resolved) -> Result<String, CheckpointError> {
        self.enter_settling(&mut config.clone(), |_, _| {})
    }

    /// Does the same as [`RunFolder::enter`] with a config that leaves something to the machine. `settle` gets it and the
    /// folder's config, or `None` for a new folder, and replaces what is open; what came of it is recorded and compared, and
    /// left in `config`.
    ///
    /// # Errors
    /// Those of [`RunFolder::enter`].
    pub fn enter_settling(
        &self,
        config: &mut Resolved,
        settle: impl FnMut(&mut Config, Option<&Config>),
    ) -> Result<String, CheckpointError> {
        let digest = self.enter_as(config, settle)?;
        let _ = self.digest.set(digest.clone());
        Ok(digest)
    }

    fn enter_as(
        &self,
        config: &mut Resolved,
        mut settle: impl FnMut(&mut Config, Option<&Config>),
    ) -> Result<String, CheckpointError> {
        let asked = config.config.clone();
        let bad = |message: String| CheckpointError::BadFile { file: self.store.url_of(CONFIG), message };
        let found = match self.store.find(CONFIG, CONFIG_LIMIT)? {
            Some(found) => found,
            None => {
                if !reader::folders(&self.store)?.is_empty() {
                    return Err(bad("missing, but the folder holds checkpoints; set `run` to another folder".into()));
                }
                settle(&mut config.config, None);
                let (ours, yaml) = (config.digest(), config.to_yaml().map_err(|e| bad(e.to_string()))?);
                let text = format!("{DIGEST_MARK}{ours}\n{yaml}");
                match self.store.put_new(CONFIG, text.into()) {
                    Ok(()) => return Ok(ours),
                    // Another job was faster: its config counts.
                    Err(StoreError::AlreadyExists { .. }) => {
                        config.config = asked;
                        self.store.find(CONFIG, CONFIG_LIMIT)?.unwrap_or_default()
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        };
        let text = std::str::from_utf8(&found).map_err(|e| bad(e.to_string()))?;
        let theirs = text.lines().next().and_then(|line| line.strip_prefix(DIGEST_MARK)).ok_or_else(|| {
            bad(format!("its first line is not `{DIGEST_MARK}...`: this is no run folder; set `run` to another"))
        })?;
        let recorded = Resolved::parse(text, Path::new(&self.store.url_of(CONFIG)), &[]).ok();
        settle(&mut config.config, recorded.as_ref().map(|recorded| &recorded.config));
        let ours = config.digest();
        if theirs == ours {
            return Ok(theirs.to_owned());
        }
        let Some(recorded) = recorded else {
            let theirs = theirs.to_owned();
            return Err(CheckpointError::OtherConfig { folder: self.url().to_owned(), theirs, ours });
        };
        let ended = reader::folders(&self.store)?.iter().any(|id| id.stage == Stage::Diffusion);
        let (notes, keys) = changes(&recorded.config, &config.config, ended);
        if !keys.is_empty() {
            return Err(CheckpointError::OtherKeys { folder: self.url().to_owned(), keys: keys.join("\n  ") });
        }
        for note in notes {
            tracing::warn!("{note}");
        }
        Ok(theirs.to_owned())
    }

    /// The config that the folder's run has.
    ///
    /// # Errors
    /// [`CheckpointError::BadFile`] if there is none or it does not parse; [`CheckpointError::Store`].
    pub fn config(&self) -> Result<Resolved, CheckpointError> {
        let bad = |message: String| CheckpointError::BadFile { file: self.store.url_of(CONFIG), message };
        let found = self.store.find(CONFIG, CONFIG_LIMIT)?;
        let found = found.ok_or_else(|| bad("missing: this is no run folder".into()))?;
        let text = std::str::from_utf8(&found).map_err(|e| bad(e.to_string()))?;
        Resolved::parse(text, Path::new(&self.store.url_of(CONFIG)), &[]).map_err(|e| bad(e.to_string()))
    }

    /// Takes the folder over for this start of the job, whose digest is [`RunFolder::enter`]'s. Called by rank 0, once;
    /// the others get the attempt by broadcast.
    ///
    /// # Errors
    /// [`CheckpointError::Store`].
    pub fn claim(&self, digest: &str) -> Result<Attempt, CheckpointError> {
        Attempt::claim(&self.store, digest)
    }

    /// Makes sure that `attempt` still owns the folder, which every save does too.
    ///
    /// # Errors
    /// [`CheckpointError::LostOwnership`]; [`CheckpointError::Store`].
    pub fn check_ownership(&self, attempt: &Attempt) -> Result<(), CheckpointError> {
        attempt.check(&self.store)
    }
}
