//! One checkpoint on its way to the store: a rank's files and part; on rank 0 the manifest, last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use defusion_storage::{Store, sha256_hex};

use crate::attempt::{Attempt, now_unix};
use crate::error::CheckpointError;
use crate::manifest::{FileEntry, GroupEntry, LIMIT, Latest, Manifest, Part, VERSION, check_files};
use crate::names::{CheckpointId, LATEST, MANIFEST, ShareName, part_name};
use crate::options::CheckpointOptions;
use crate::retention::{Keep, sweep};

/// The background's part of one save.
pub(crate) struct Job {
    /// The run folder, with the save's retries.
    pub(crate) store: Store,
    pub(crate) attempt: Attempt,
    pub(crate) rank: usize,
    pub(crate) world: usize,
    pub(crate) options: CheckpointOptions,
    pub(crate) damaged: Arc<Mutex<BTreeSet<CheckpointId>>>,
    pub(crate) abandoned: Arc<AtomicBool>,
    pub(crate) id: CheckpointId,
    pub(crate) groups: BTreeMap<String, GroupEntry>,
    pub(crate) scalars: serde_json::Map<String, serde_json::Value>,
}

impl Job {
    /// Uploads `shares`; on rank 0 also waits for the other ranks' and writes the manifest.
    ///
    /// # Errors
    /// [`CheckpointError`]; without a manifest there is no checkpoint then.
    pub(crate) fn run(self, shares: Vec<(ShareName, Bytes)>) -> Result<(), CheckpointError> {
        let Self { store, id, .. } = &self;
        let start = Instant::now();
        let manifest = id.object(MANIFEST);
        if self.rank == 0 {
            self.attempt.check(store)?;
            if store.size(&manifest)?.is_some() {
                // An earlier try of this attempt got as far as the manifest.
                return self.announce();
            }
        }
        let mut files = Vec::with_capacity(shares.len());
        for (name, data) in shares {
            files.push(self.upload(&name.to_string(), data)?);
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
        self.write_json(&name, &part)?;
        if self.rank == 0 {
            let content = self.gather()?;
            self.attempt.check(store)?;
            self.write_json(&manifest, &content)?;
            self.announce()?;
            let bytes: u64 = content.files.iter().map(|f| f.size).sum();
            tracing::info!(
                "checkpoint {id} saved: {:.1} MiB in {:.1} s",
                bytes as f64 / f64::from(1 << 20),
                start.elapsed().as_secs_f64()
            );
        }
        Ok(())
    }

    /// Uploads a file and reads it back.
    fn upload(&self, name: &str, data: Bytes) -> Result<FileEntry, CheckpointError> {
        self.go_on()?;
        let size = data.len() as u64;
        let sha256 = self.store.put_verified(&self.id.object(name), data)?;
        Ok(FileEntry { name: name.to_owned(), size, sha256 })
    }

    fn write_json(&self, name: &str, value: &impl serde::Serialize) -> Result<(), CheckpointError> {
        self.go_on()?;
        let json = serde_json::to_vec_pretty(value).map_err(|e| CheckpointError::BadFile {
            file: self.store.url_of(name),
            message: format!("cannot be written as JSON: {e}"),
        })?;
        self.store.put_verified(name, json.into())?;
        Ok(())
    }

    /// Ends a save whose [`Checkpointer`](crate::Checkpointer) is gone.
    fn go_on(&self) -> Result<(), CheckpointError> {
        if self.abandoned.load(Ordering::Relaxed) {
            return Err(CheckpointError::Interrupted { checkpoint: self.id, message: "it was abandoned".into() });
        }
        Ok(())
    }

    /// Waits for the parts of all ranks and checks them against the store.
    fn gather(&self) -> Result<Manifest, CheckpointError> {
        let Self { store, id, world, options, .. } = self;
        let start = Instant::now();
        let folder = store.folder(&id.folder())?;
        let mut pause = options.part_poll / 16;
        let sizes = loop {
            let sizes: BTreeMap<String, u64> = folder.sizes()?.into_iter().collect();
            let missing: Vec<usize> = (0..*world).filter(|&r| !sizes.contains_key(&part_name(r, *world))).collect();
            if missing.is_empty() {
                break sizes;
            }
            if start.elapsed() >= options.part_timeout {
                let seconds = start.elapsed().as_secs();
                return Err(CheckpointError::MissingParts { checkpoint: *id, ranks: missing, seconds });
            }
            self.go_on()?;
            std::thread::sleep(pause);
            pause = (pause * 2).min(options.part_poll);
        };
        let mut files = Vec::new();
        for rank in 0..*world {
            files.extend(self.read_part(rank, &sizes)?);
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

    fn read_part(&self, rank: usize, sizes: &BTreeMap<String, u64>) -> Result<Vec<FileEntry>, CheckpointError> {
        let file = part_name(rank, self.world);
        let damaged = |message: String| CheckpointError::Damaged { checkpoint: self.id, file: file.clone(), message };
        let bytes = self.store.find(&self.id.object(&file), LIMIT)?;
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
        check_files(&part.files, self.world, Some(rank)).map_err(|e| damaged(e.to_string()))?;
        for FileEntry { name, size, .. } in &part.files {
            if sizes.get(name) != Some(size) {
                return Err(damaged(format!("`{name}` has {:?} bytes, not {size}", sizes.get(name))));
            }
        }
        Ok(part.files)
    }

    /// Moves `latest.json`, then removes what need not stay.
    fn announce(&self) -> Result<(), CheckpointError> {
        let bytes = self.store.find(&self.id.object(MANIFEST), LIMIT)?.unwrap_or_default();
        let manifest = FileEntry { name: MANIFEST.into(), size: bytes.len() as u64, sha256: sha256_hex(&bytes) };
        self.write_json(LATEST, &Latest { version: VERSION, checkpoint: self.id, manifest })?;
        let keep = Keep { newest: self.options.keep, every: self.options.keep_every };
        let damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // The checkpoint is safe; what could not be removed is tried again after the next one.
        if let Err(error) = sweep(&self.store, self.id, keep, &damaged) {
            tracing::warn!("old checkpoints could not be removed: {error}");
        }
        Ok(())
    }
}
