//! One checkpoint on its way to the store: a rank's files and part; on rank 0 the manifest, last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::attempt::now_unix;
use super::manifest::{FileEntry, GroupEntry, LIMIT, Latest, Part, VERSION, check_files};
use super::names::{LATEST, MANIFEST, ShareName, part_name};
use super::retention::{Keep, sweep};
use super::store::hex;
use super::{Attempt, CheckpointError, CheckpointId, Manifest, Options, Store, StoreError, StoreErrorKind};

/// The background's part of one save.
pub(super) struct Job {
    pub(super) store: Store,
    pub(super) attempt: Attempt,
    pub(super) rank: usize,
    pub(super) world: usize,
    pub(super) options: Options,
    pub(super) damaged: Arc<std::sync::Mutex<BTreeSet<CheckpointId>>>,
    pub(super) id: CheckpointId,
    pub(super) groups: BTreeMap<String, GroupEntry>,
    pub(super) scalars: serde_json::Map<String, serde_json::Value>,
}

impl Job {
    pub(super) async fn run(self, shares: Vec<(ShareName, Bytes)>) -> Result<(), CheckpointError> {
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
        let is_store = |error: &CheckpointError| matches!(error, CheckpointError::Store(_));
        self.options.retry.run_while(is_store, || self.attempt.check(&self.store)).await
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
            config_digest: self.attempt.config_digest.clone(),
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
