//! Saving: a copy to host memory on the caller's thread, everything else in the background.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

use super::attempt::now_unix;
use super::host::Pool;
use super::manifest::{FileEntry, GroupEntry, LIMIT, Latest, Part, VERSION, check_files};
use super::names::{LATEST, MANIFEST, ShareName, part_name};
use super::retention::{Keep, sweep};
use super::store::hex;
use super::{
    Attempt, CheckpointError, CheckpointId, Manifest, Retry, RunFolder, Snapshot, Store, StoreError, StoreErrorKind,
};

/// How checkpoints are written and kept.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Newest whole checkpoints kept, at least 1.
    pub keep: u32,
    /// Checkpoints at multiples of this step are kept for ever; 0: none.
    pub keep_every: u64,
    /// Retries of every operation on the store.
    pub retry: Retry,
    /// How long rank 0 waits for the shares of the others.
    pub part_timeout: Duration,
    /// Longest pause between two looks for them.
    pub part_poll: Duration,
}

impl From<&defusion_config::Checkpoints> for Options {
    fn from(config: &defusion_config::Checkpoints) -> Self {
        Self {
            keep: config.keep,
            keep_every: config.keep_every,
            retry: Retry::default(),
            part_timeout: Duration::from_secs(30 * 60),
            part_poll: Duration::from_secs(2),
        }
    }
}

/// Saves snapshots of one rank. At most one upload is under way, so host memory holds at most one snapshot.
///
/// Failures of the background are never lost: each is returned once by [`Checkpointer::poll`] or
/// [`Checkpointer::wait`]. A run goes on after a failed save if its caller wants so, except after
/// [`CheckpointError::LostOwnership`].
pub struct Checkpointer {
    folder: RunFolder,
    attempt: Attempt,
    digest: String,
    rank: usize,
    world: usize,
    options: Options,
    pool: Pool,
    under_way: Option<(CheckpointId, JoinHandle<Result<(), CheckpointError>>)>,
    last: Option<CheckpointId>,
    done: VecDeque<Result<CheckpointId, CheckpointError>>,
}

impl Checkpointer {
    /// A checkpointer of `rank` of `world`. `attempt` is [`RunFolder::claim`]'s, made by rank 0 and told to the others;
    /// `digest` is what [`RunFolder::enter`] returned.
    pub fn new(folder: RunFolder, attempt: Attempt, digest: &str, rank: usize, world: usize, options: Options) -> Self {
        Self {
            folder,
            attempt,
            digest: digest.to_owned(),
            rank,
            world,
            options,
            pool: Pool::default(),
            under_way: None,
            last: None,
            done: VecDeque::new(),
        }
    }

    /// Copies this rank's share of `snapshot` to host memory and starts its upload. All ranks call it with equal
    /// snapshots. Waits for the previous upload first, where that is still under way. Saving the step that was saved last
    /// again does nothing.
    ///
    /// # Errors
    /// [`CheckpointError::State`] for what cannot be stored; nothing was written then. Failures of the upload come from
    /// [`Checkpointer::poll`] and [`Checkpointer::wait`].
    pub fn save(&mut self, snapshot: &Snapshot) -> Result<CheckpointId, CheckpointError> {
        let id = CheckpointId { stage: snapshot.stage, step: snapshot.step, attempt: self.attempt.number };
        if self.last == Some(id) {
            return Ok(id);
        }
        if self.busy() {
            let start = Instant::now();
            self.finish();
            tracing::warn!("the previous checkpoint's upload took {:?} longer than the next was due", start.elapsed());
        }
        self.finish();
        let shares = snapshot.encode_share(self.rank, self.world, &self.pool)?;
        let job = Job {
            store: self.folder.store().clone(),
            attempt: self.attempt.clone(),
            digest: self.digest.clone(),
            rank: self.rank,
            world: self.world,
            options: self.options,
            damaged: self.folder.damaged(),
            id,
            groups: snapshot.totals(),
            scalars: snapshot.scalars.clone(),
        };
        self.under_way = Some((id, self.folder.runtime().spawn(job.run(shares))));
        self.last = Some(id);
        Ok(id)
    }

    /// Whether an upload is under way.
    pub fn busy(&self) -> bool {
        self.under_way.as_ref().is_some_and(|(_, task)| !task.is_finished())
    }

    /// The next finished save, without waiting: its name, or why it failed. On rank 0 a finished save is a whole,
    /// verified checkpoint; on other ranks it is their share. `None` where there is no news.
    ///
    /// # Errors
    /// Why the save failed.
    pub fn poll(&mut self) -> Result<Option<CheckpointId>, CheckpointError> {
        if !self.busy() {
            self.finish();
        }
        self.done.pop_front().transpose()
    }

    /// Waits for the upload under way, if any; the name of the newest finished save that no call has returned yet.
    ///
    /// # Errors
    /// Why a save failed, the oldest first; the others remain for the next call.
    pub fn wait(&mut self) -> Result<Option<CheckpointId>, CheckpointError> {
        self.finish();
        let mut newest = None;
        while let Some(result) = self.done.pop_front() {
            newest = Some(result?);
        }
        Ok(newest)
    }

    fn finish(&mut self) {
        let Some((id, task)) = self.under_way.take() else { return };
        let result = match self.folder.runtime().block_on(task) {
            Ok(result) => result,
            Err(e) => Err(CheckpointError::Interrupted { checkpoint: id, message: e.to_string() }),
        };
        if result.is_err() {
            // So that the same step can be tried again.
            self.last = None;
        }
        self.done.push_back(result.map(|()| id));
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        if let Some((id, task)) = self.under_way.take_if(|(_, task)| !task.is_finished()) {
            tracing::error!("checkpoint {id} is abandoned before its upload is done");
            task.abort();
        }
        for error in self.done.drain(..).filter_map(Result::err) {
            tracing::error!("nobody asked after a failed save: {error}");
        }
    }
}

/// The background's part of one save.
struct Job {
    store: Store,
    attempt: Attempt,
    digest: String,
    rank: usize,
    world: usize,
    options: Options,
    damaged: Arc<std::sync::Mutex<BTreeSet<CheckpointId>>>,
    id: CheckpointId,
    groups: BTreeMap<String, GroupEntry>,
    scalars: serde_json::Map<String, serde_json::Value>,
}

impl Job {
    async fn run(self, shares: Vec<(ShareName, Bytes)>) -> Result<(), CheckpointError> {
        let Self { store, id, options, .. } = &self;
        let start = Instant::now();
        let manifest = id.object(MANIFEST);
        if self.rank == 0 {
            self.check_ownership().await?;
            if options.retry.run(|| store.size(&manifest)).await?.is_some() {
                // An earlier try of this attempt got as far as the manifest.
                return self.announce().await;
            }
        }
        let mut files = Vec::with_capacity(shares.len());
        for (name, data) in shares {
            files.push(self.upload(&name.to_string(), data).await?);
        }
        let part = Part {
            version: VERSION,
            checkpoint: *id,
            nonce: self.attempt.nonce.clone(),
            rank: self.rank,
            world: self.world,
            groups: self.groups.clone(),
            files,
        };
        let name = id.object(&part_name(self.rank, self.world));
        self.write_json(&name, &part).await?;
        if self.rank == 0 {
            let content = self.gather().await?;
            self.check_ownership().await?;
            self.write_json(&manifest, &content).await?;
            self.announce().await?;
            let bytes: u64 = content.files.iter().map(|f| f.size).sum();
            tracing::info!(
                "checkpoint {id} saved: {:.1} MiB in {:.1} s",
                bytes as f64 / f64::from(1 << 20),
                start.elapsed().as_secs_f64()
            );
        }
        Ok(())
    }

    async fn check_ownership(&self) -> Result<(), CheckpointError> {
        let mut pause = self.options.retry.first;
        for tried in 1.. {
            match self.attempt.check(&self.store).await {
                Err(CheckpointError::Store(error)) if tried < self.options.retry.tries => {
                    tracing::warn!("{error}; trying again in {pause:?}");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(self.options.retry.longest);
                }
                result => return result,
            }
        }
        Ok(())
    }

    /// Uploads a file and reads it back.
    async fn upload(&self, name: &str, data: Bytes) -> Result<FileEntry, CheckpointError> {
        let object = self.id.object(name);
        let hashed = data.clone();
        let sha256 = tokio::task::spawn_blocking(move || hex(&Sha256::digest(&hashed)))
            .await
            .map_err(|e| CheckpointError::Interrupted { checkpoint: self.id, message: e.to_string() })?;
        let size = data.len() as u64;
        let upload = || async {
            self.store.put(&object, data.clone()).await?;
            let differs = |message| StoreError {
                kind: StoreErrorKind::Content,
                action: "verify",
                object: self.store.url_of(&object),
                message,
            };
            match self.store.size(&object).await? {
                Some(found) if found == size => {}
                found => return Err(differs(format!("{size} bytes were written, the store has {found:?}"))),
            }
            match self.store.sha256(&object, size).await? {
                found if found == sha256 => Ok(()),
                found => Err(differs(format!("sha256 {sha256} was written, the store gives back {found}"))),
            }
        };
        self.options.retry.run(upload).await?;
        Ok(FileEntry { name: name.to_owned(), size, sha256 })
    }

    async fn write_json(&self, name: &str, value: &impl serde::Serialize) -> Result<FileEntry, CheckpointError> {
        let json = serde_json::to_vec_pretty(value).map_err(|e| CheckpointError::BadFile {
            file: self.store.url_of(name),
            message: format!("cannot be written as JSON: {e}"),
        })?;
        let data = Bytes::from(json);
        let write = || async {
            self.store.put(name, data.clone()).await?;
            match self.store.get_small(name, data.len() as u64).await? {
                Some(found) if found == data => Ok(()),
                _ => Err(StoreError {
                    kind: StoreErrorKind::Content,
                    action: "verify",
                    object: self.store.url_of(name),
                    message: "the store gives back something else than was written".into(),
                }),
            }
        };
        self.options.retry.run(write).await?;
        let sha256 = hex(&Sha256::digest(&data));
        let name = name.rsplit('/').next().unwrap_or(name).to_owned();
        Ok(FileEntry { name, size: data.len() as u64, sha256 })
    }

    /// Waits for the parts of all ranks and checks them against the store.
    async fn gather(&self) -> Result<Manifest, CheckpointError> {
        let Self { store, id, world, options, .. } = self;
        let start = Instant::now();
        let folder = id.folder();
        let mut pause = options.part_poll / 16;
        let sizes = loop {
            let sizes: BTreeMap<String, u64> = options.retry.run(|| store.list(&folder)).await?.into_iter().collect();
            let missing: Vec<usize> = (0..*world).filter(|&r| !sizes.contains_key(&part_name(r, *world))).collect();
            if missing.is_empty() {
                break sizes;
            }
            if start.elapsed() >= options.part_timeout {
                let seconds = start.elapsed().as_secs();
                return Err(CheckpointError::MissingParts { checkpoint: *id, ranks: missing, seconds });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(options.part_poll);
        };
        let mut files = Vec::new();
        for rank in 0..*world {
            files.extend(self.read_part(rank, &sizes).await?);
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Manifest {
            version: VERSION,
            checkpoint: *id,
            nonce: self.attempt.nonce.clone(),
            config_digest: self.digest.clone(),
            world: *world,
            saved_unix: now_unix(),
            groups: self.groups.clone(),
            files,
            scalars: self.scalars.clone(),
        })
    }

    async fn read_part(&self, rank: usize, sizes: &BTreeMap<String, u64>) -> Result<Vec<FileEntry>, CheckpointError> {
        let file = part_name(rank, self.world);
        let damaged = |message: String| CheckpointError::Damaged { checkpoint: self.id, file: file.clone(), message };
        let object = self.id.object(&file);
        let bytes = self.options.retry.run(|| self.store.get_small(&object, LIMIT)).await?;
        let bytes = bytes.ok_or_else(|| damaged("it was there and is gone".into()))?;
        let part: Part = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
        if (part.version, part.checkpoint, part.rank, part.world) != (VERSION, self.id, rank, self.world)
            || part.nonce != self.attempt.nonce
        {
            return Err(damaged("another job wrote it".into()));
        }
        if part.groups != self.groups {
            return Err(damaged(format!("rank {rank} holds {:?}, rank 0 holds {:?}", part.groups, self.groups)));
        }
        check_files(&part.files, self.world, Some(rank)).map_err(&damaged)?;
        for FileEntry { name, size, .. } in &part.files {
            if sizes.get(name) != Some(size) {
                return Err(damaged(format!("`{name}` has {:?} bytes, not {size}", sizes.get(name))));
            }
        }
        Ok(part.files)
    }

    /// Moves `latest.json`, then removes what need not stay.
    async fn announce(&self) -> Result<(), CheckpointError> {
        let object = self.id.object(MANIFEST);
        let manifest = self.options.retry.run(|| self.store.get_small(&object, LIMIT)).await?.unwrap_or_default();
        let manifest =
            FileEntry { name: MANIFEST.into(), size: manifest.len() as u64, sha256: hex(&Sha256::digest(&manifest)) };
        self.write_json(LATEST, &Latest { version: VERSION, checkpoint: self.id, manifest }).await?;
        let keep = Keep { newest: self.options.keep, every: self.options.keep_every };
        let damaged = self.damaged.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        // The checkpoint is safe; what could not be removed is tried again after the next one.
        if let Err(error) = sweep(&self.store, self.id, keep, &damaged).await {
            tracing::warn!("old checkpoints could not be removed: {error}");
        }
        Ok(())
    }
}
