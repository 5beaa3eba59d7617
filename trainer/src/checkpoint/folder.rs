//! The run folder: whose it is, and its checkpoints, for callers without async.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use defusion_config::Resolved;
use tokio::runtime::Runtime;

use super::{Attempt, CheckpointError, CheckpointId, Found, Manifest, Snapshot, Store, StoreErrorKind, reader};

const CONFIG: &str = "config.yaml";
/// Largest config that is read, bytes.
const CONFIG_LIMIT: u64 = 1 << 20;
/// First line of `config.yaml`, before the digest.
const DIGEST_MARK: &str = "# digest: ";

/// A run folder. Clones are cheap and mean the same folder. Its calls block; none may be made from async code.
#[derive(Clone)]
pub struct RunFolder {
    store: Store,
    runtime: Arc<Runtime>,
    digest: Arc<OnceLock<String>>,
    damaged: Arc<Mutex<BTreeSet<CheckpointId>>>,
}

impl RunFolder {
    /// Opens the folder at a path or URL (see [`Store::open`]). Nothing is read or written yet.
    ///
    /// # Errors
    /// [`CheckpointError::Store`] where the URL cannot be used.
    pub fn open(url: &str) -> Result<Self, CheckpointError> {
        Self::with_store(Store::open(url)?)
    }

    /// Opens the folder in a store at hand.
    ///
    /// # Errors
    /// [`CheckpointError::BadFile`] where no threads can be started.
    pub fn with_store(store: Store) -> Result<Self, CheckpointError> {
        // Two threads: one can hash while the other talks to the store.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("run-folder")
            .enable_all()
            .build()
            .map_err(|e| CheckpointError::BadFile {
                file: store.shown().to_owned(),
                message: format!("cannot start the threads for its uploads: {e}"),
            })?;
        Ok(Self { store, runtime: Arc::new(runtime), digest: Arc::default(), damaged: Arc::default() })
    }

    /// The folder's store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Where background work on the folder runs.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub(super) fn damaged(&self) -> Arc<Mutex<BTreeSet<CheckpointId>>> {
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
    /// that has checkpoints without one; the store's. Nothing is overwritten.
    pub fn enter(&self, config: &Resolved) -> Result<String, CheckpointError> {
        let ours = config.digest();
        let digest = self.runtime.block_on(self.enter_async(config, &ours))?;
        let _ = self.digest.set(digest.clone());
        Ok(digest)
    }

    async fn enter_async(&self, config: &Resolved, ours: &str) -> Result<String, CheckpointError> {
        let bad = |message: String| CheckpointError::BadFile { file: self.store.url_of(CONFIG), message };
        let found = match self.store.get_small(CONFIG, CONFIG_LIMIT).await? {
            Some(found) => found,
            None => {
                if !reader::folders(&self.store).await?.is_empty() {
                    return Err(bad("missing, but the folder holds checkpoints; set `run` to another folder".into()));
                }
                let yaml = config.to_yaml().map_err(|e| bad(e.to_string()))?;
                let text = format!("{DIGEST_MARK}{ours}\n{yaml}");
                match self.store.put_new(CONFIG, text.into()).await {
                    Ok(()) => return Ok(ours.to_owned()),
                    // Another job was faster: its config counts.
                    Err(error) if error.kind == StoreErrorKind::AlreadyExists => {
                        self.store.get_small(CONFIG, CONFIG_LIMIT).await?.unwrap_or_default()
                    }
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
            folder: self.store.shown().to_owned(),
            theirs: theirs.to_owned(),
            ours: ours.to_owned(),
        })
    }

    /// The config that the folder's run has.
    ///
    /// # Errors
    /// [`CheckpointError::BadFile`] where there is none or it does not parse; the store's.
    pub fn config(&self) -> Result<Resolved, CheckpointError> {
        let bad = |message: String| CheckpointError::BadFile { file: self.store.url_of(CONFIG), message };
        let found = self.runtime.block_on(self.store.get_small(CONFIG, CONFIG_LIMIT))?;
        let found = found.ok_or_else(|| bad("missing: this is no run folder".into()))?;
        let text = std::str::from_utf8(&found).map_err(|e| bad(e.to_string()))?;
        Resolved::parse(text, Path::new(&self.store.url_of(CONFIG)), &[]).map_err(|e| bad(e.to_string()))
    }

    /// Takes the folder over for this start of the job. Called by rank 0, once, after [`RunFolder::enter`]; the others
    /// get the attempt by broadcast.
    ///
    /// # Errors
    /// The store's.
    pub fn claim(&self) -> Result<Attempt, CheckpointError> {
        self.runtime.block_on(Attempt::claim(&self.store))
    }

    /// Makes sure that `attempt` still owns the folder, which every save does too.
    ///
    /// # Errors
    /// [`CheckpointError::LostOwnership`]; the store's.
    pub fn check_ownership(&self, attempt: &Attempt) -> Result<(), CheckpointError> {
        self.runtime.block_on(attempt.check(&self.store))
    }

    /// All whole checkpoints, newest first: those whose manifest parses and whose files have its sizes.
    ///
    /// # Errors
    /// The store's.
    pub fn checkpoints(&self) -> Result<Vec<CheckpointId>, CheckpointError> {
        self.runtime.block_on(async {
            let mut whole = Vec::new();
            for id in reader::folders(&self.store).await? {
                match reader::inspect(&self.store, id).await {
                    Ok(Some(_)) => whole.push(id),
                    Ok(None) | Err(CheckpointError::Damaged { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(whole)
        })
    }

    /// The newest checkpoint whose every byte is right; reads it whole and keeps nothing. Called by rank 0, which tells
    /// the others the name. `None` where the folder has no checkpoint.
    ///
    /// # Errors
    /// [`CheckpointError::NoneUsable`]; [`CheckpointError::OtherConfig`] for a checkpoint of another run; the store's,
    /// which never make an older checkpoint be used.
    pub fn find_latest(&self) -> Result<Option<Found>, CheckpointError> {
        let found = self.newest(async |id| reader::verify(&self.store, id).await.map(|manifest| ((), manifest)))?;
        Ok(found.map(|(found, ())| found))
    }

    /// As [`RunFolder::find_latest`], and the checkpoint itself, read once.
    ///
    /// # Errors
    /// As [`RunFolder::find_latest`].
    pub fn load_latest(&self) -> Result<Option<(Found, Snapshot)>, CheckpointError> {
        self.newest(async |id| reader::load(&self.store, id, |_| true).await)
    }

    fn newest<T>(
        &self,
        read: impl AsyncFn(CheckpointId) -> Result<(T, Manifest), CheckpointError>,
    ) -> Result<Option<(Found, T)>, CheckpointError> {
        self.runtime.block_on(async {
            let mut damaged: Vec<CheckpointError> = Vec::new();
            for id in reader::folders(&self.store).await? {
                let result = match reader::inspect(&self.store, id).await {
                    // No manifest: it was never finished.
                    Ok(None) => continue,
                    Ok(Some(_)) => read(id).await,
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
                    folder: self.store.shown().to_owned(),
                    count: damaged.len(),
                    newest: newest.to_string(),
                }),
            }
        })
    }

    /// Loads one checkpoint, every byte verified, onto the CPU. It may have been written by any number of ranks.
    ///
    /// # Errors
    /// [`CheckpointError::Damaged`] naming the file; the store's.
    pub fn load(&self, id: CheckpointId) -> Result<Snapshot, CheckpointError> {
        self.load_checked(id, |_| true)
    }

    /// As [`RunFolder::load`], only the groups named: what evaluation and export need.
    ///
    /// # Errors
    /// As [`RunFolder::load`]; [`CheckpointError::State`] for a group that the checkpoint does not have.
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
        let (snapshot, manifest) = self.runtime.block_on(reader::load(&self.store, id, wanted))?;
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
