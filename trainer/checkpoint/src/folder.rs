//! The run folder: whose it is, and its checkpoints.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use defusion_config::Resolved;
use defusion_storage::{Store, StoreError, sha256_hex};

use crate::attempt::Attempt;
use crate::error::CheckpointError;
use crate::manifest::Manifest;
use crate::names::{CheckpointId, MANIFEST};
use crate::reader::{self, Found};
use crate::state::Snapshot;

const CONFIG: &str = "config.yaml";
/// Largest config that is read, bytes.
const CONFIG_LIMIT: u64 = 1 << 20;
/// First line of `config.yaml`, before the digest.
const DIGEST_MARK: &str = "# digest: ";

/// A run folder. Clones are cheap and mean the same folder. Its calls block.
#[derive(Clone, Debug)]
pub struct RunFolder {
    store: Store,
    digest: Arc<OnceLock<String>>,
    damaged: Arc<Mutex<BTreeSet<CheckpointId>>>,
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
    /// The config in the folder is read anew and its digest compared too, so that a key that a later version of this
    /// program adds with a default does not make an old run foreign.
    ///
    /// # Errors
    /// [`CheckpointError::OtherConfig`]; [`CheckpointError::BadFile`] for a `config.yaml` that is not ours, or a folder
    /// that has checkpoints without one; [`CheckpointError::Store`]. Nothing is overwritten.
    pub fn enter(&self, config: &Resolved) -> Result<String, CheckpointError> {
        let ours = config.digest();
        let digest = self.enter_as(config, &ours)?;
        let _ = self.digest.set(digest.clone());
        Ok(digest)
    }

    fn enter_as(&self, config: &Resolved, ours: &str) -> Result<String, CheckpointError> {
        let bad = |message: String| CheckpointError::BadFile { file: self.store.url_of(CONFIG), message };
        let found = match self.store.find(CONFIG, CONFIG_LIMIT)? {
            Some(found) => found,
            None => {
                if !reader::folders(&self.store)?.is_empty() {
                    return Err(bad("missing, but the folder holds checkpoints; set `run` to another folder".into()));
                }
                let yaml = config.to_yaml().map_err(|e| bad(e.to_string()))?;
                let text = format!("{DIGEST_MARK}{ours}\n{yaml}");
                match self.store.put_new(CONFIG, text.into()) {
                    Ok(()) => return Ok(ours.to_owned()),
                    // Another job was faster: its config counts.
                    Err(StoreError::AlreadyExists { .. }) => self.store.find(CONFIG, CONFIG_LIMIT)?.unwrap_or_default(),
                    Err(error) => return Err(error.into()),
                }
            }
        };
        let text = std::str::from_utf8(&found).map_err(|e| bad(e.to_string()))?;
        let theirs = text.lines().next().and_then(|line| line.strip_prefix(DIGEST_MARK)).ok_or_else(|| {
            bad(format!("its first line is not `{DIGEST_MARK}...`: this is no run folder; set `run` to another"))
        })?;
        let again = Resolved::parse(text, Path::new(&self.store.url_of(CONFIG)), &[]).map(|r| r.digest());
        if theirs == ours || again.is_ok_and(|digest| digest == ours) {
            return Ok(theirs.to_owned());
        }
        Err(CheckpointError::OtherConfig {
            folder: self.url().to_owned(),
            theirs: theirs.to_owned(),
            ours: ours.to_owned(),
        })
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

    /// All whole checkpoints, newest first: those whose manifest parses and whose files have its sizes.
    ///
    /// # Errors
    /// [`CheckpointError::Store`].
    pub fn checkpoints(&self) -> Result<Vec<CheckpointId>, CheckpointError> {
        let mut whole = Vec::new();
        for id in reader::folders(&self.store)? {
            match reader::inspect(&self.store, id) {
                Ok(Some(_)) => whole.push(id),
                Ok(None) | Err(CheckpointError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(whole)
    }

    /// The manifest of a whole checkpoint and the sha256 of its file, which tells two checkpoints apart for ever.
    ///
    /// # Errors
    /// [`CheckpointError::Damaged`] if there is none or it does not hold; [`CheckpointError::Store`].
    pub fn manifest(&self, id: CheckpointId) -> Result<(Manifest, String), CheckpointError> {
        let missing = || CheckpointError::Damaged { checkpoint: id, file: MANIFEST.into(), message: "missing".into() };
        let bytes = reader::manifest_bytes(&self.store, id)?.ok_or_else(missing)?;
        Ok((Manifest::parse(id, &bytes)?, sha256_hex(&bytes)))
    }

    /// The newest checkpoint whose every byte is right; reads it whole and keeps nothing. Called by rank 0, which tells
    /// the others the name. `None` if the folder has no checkpoint.
    ///
    /// # Errors
    /// [`CheckpointError::NoneUsable`]; [`CheckpointError::OtherConfig`] for a checkpoint of another run; [`CheckpointError::Store`],
    /// which never make an older checkpoint be used.
    pub fn find_latest(&self) -> Result<Option<Found>, CheckpointError> {
        let found = self.newest(|id| reader::verify(&self.store, id).map(|manifest| ((), manifest)))?;
        Ok(found.map(|(found, ())| found))
    }

    /// Loads the newest checkpoint whose every byte is right, read once, as [`RunFolder::find_latest`] finds it.
    ///
    /// # Errors
    /// Those of [`RunFolder::find_latest`].
    pub fn load_latest(&self) -> Result<Option<(Found, Snapshot)>, CheckpointError> {
        self.newest(|id| reader::load(&self.store, id, |_| true))
    }

    fn newest<T>(
        &self,
        read: impl Fn(CheckpointId) -> Result<(T, Manifest), CheckpointError>,
    ) -> Result<Option<(Found, T)>, CheckpointError> {
        let mut damaged: Vec<CheckpointError> = Vec::new();
        for id in reader::folders(&self.store)? {
            let result = match reader::inspect(&self.store, id) {
                // No manifest: it was never finished.
                Ok(None) => continue,
                Ok(Some(_)) => read(id),
                Err(error) => Err(error),
            };
            match result {
                Ok((value, manifest)) => {
                    self.check_digest(&manifest)?;
                    return Ok(Some((Found { id, damaged }, value)));
                }
                Err(error @ CheckpointError::Damaged { .. }) => {
                    tracing::warn!("{error}; trying the one before");
                    self.damaged.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
                    damaged.push(error);
                }
                Err(error) => return Err(error),
            }
        }
        match damaged.first() {
            None => Ok(None),
            Some(newest) => Err(CheckpointError::NoneUsable {
                folder: self.url().to_owned(),
                count: damaged.len(),
                newest: newest.to_string(),
            }),
        }
    }

    /// Loads one checkpoint, every byte verified, onto the CPU. It may have been written by any number of ranks.
    ///
    /// # Errors
    /// [`CheckpointError::Damaged`] naming the file; [`CheckpointError::Store`].
    pub fn load(&self, id: CheckpointId) -> Result<Snapshot, CheckpointError> {
        self.load_checked(id, |_| true)
    }

    /// Loads only the groups named of a checkpoint, as evaluation and export need them.
    ///
    /// # Errors
    /// Those of [`RunFolder::load`]; [`CheckpointError::State`] for a group that the checkpoint does not have.
    pub fn load_groups(&self, id: CheckpointId, groups: &[&str]) -> Result<Snapshot, CheckpointError> {
        let snapshot = self.load_checked(id, |group| groups.contains(&group))?;
        match groups.iter().find(|group| !snapshot.groups.contains_key(**group)) {
            None => Ok(snapshot),
            Some(group) => Err(CheckpointError::State {
                group: (*group).to_owned(),
                message: format!("checkpoint {id} has no such group"),
            }),
        }
    }

    fn load_checked(&self, id: CheckpointId, wanted: impl Fn(&str) -> bool) -> Result<Snapshot, CheckpointError> {
        let (snapshot, manifest) = reader::load(&self.store, id, wanted)?;
        self.check_digest(&manifest)?;
        Ok(snapshot)
    }

    /// Refuses a checkpoint of another run, once [`RunFolder::enter`] has said which run this is.
    fn check_digest(&self, manifest: &Manifest) -> Result<(), CheckpointError> {
        match self.digest.get() {
            Some(ours) if *ours != manifest.config_digest => Err(CheckpointError::OtherConfig {
                folder: self.store.url_of(&manifest.checkpoint.folder()),
                theirs: manifest.config_digest.clone(),
                ours: ours.clone(),
            }),
            _ => Ok(()),
        }
    }
}
