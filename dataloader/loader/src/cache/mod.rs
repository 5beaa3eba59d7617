//! A bounded folder of remote shards, shared by the workers of a host.

mod folder;

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use defusion_config::RemoteCache;
use defusion_datasets::ShardEntry;
use sha2::{Digest, Sha256};

use self::folder::{Folder, evict, held};
use crate::shard::{FormatError, ShardError};
use defusion_storage::{Location, Store};

/// How often a full cache is looked at again.
const WAIT: Duration = Duration::from_millis(20);

/// A cache of whole shard files, each named by its sha256. Processes may share it: a file appears under its name only
/// when it is whole and verified, one process at a time fetches it, and those that lose the race use it.
///
/// Processes take turns by locks on files. Where the file system has none, each fetches for itself, which may take the room of a
/// shard more than once.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: Folder,
    max_bytes: u64,
}

impl Cache {
    /// Opens the cache that the config describes; makes its folder.
    ///
    /// # Errors
    /// [`ShardError::Cache`].
    pub fn open(config: &RemoteCache) -> Result<Self, ShardError> {
        const SETTING: &str = "data.cache.dir";
        let refused = |dir: &str, message: String| ShardError::Cache { dir: dir.to_owned(), message };
        let dir = match &config.dir {
            Some(dir) => match Location::parse(dir).map_err(|e| refused(dir, e.message))? {
                Location::Local(path) => path,
                Location::Remote { .. } => {
                    return Err(refused(dir, format!("is not on this machine; {SETTING} names a local folder")));
                }
            },
            None => std::env::temp_dir().join("defusion-shards"),
        };
        Self::at(dir, config.max_gib, SETTING)
    }

    /// Opens the cache in a folder that `setting` names; makes the folder.
    pub(crate) fn at(dir: PathBuf, max_gib: f64, setting: &'static str) -> Result<Self, ShardError> {
        let max_bytes = (max_gib.max(0.0) * (1u64 << 30) as f64) as u64;
        Ok(Self { folder: Folder::open(dir, setting)?, max_bytes })
    }

    /// Returns the local file of a shard, fetched and verified if it is not there; open, so that no eviction takes it away
    /// from who asked.
    ///
    /// # Errors
    /// [`ShardError::Shard`] or [`ShardError::Store`], which name the shard; [`ShardError::Cache`], if the cache's folder is to
    /// blame.
    pub fn fetch(&self, store: &Store, entry: &ShardEntry) -> Result<(PathBuf, File), ShardError> {
        let path = self.folder.dir.join(format!("{}.parquet", entry.sha256));
        if let Some(file) = held(&path, entry) {
            return Ok((path, file));
        }
        // Held while fetching; the kernel drops it when the process dies, however it dies. Lock files stay: deleting
        // one would let two processes hold "the" lock.
        let _fetching = self.folder.lock(&format!("{}.lock", entry.sha256))?;
        if let Some(file) = held(&path, entry) {
            return Ok((path, file));
        }
        let part = self.folder.dir.join(match self.folder.locks {
            true => format!("{}.part", entry.sha256),
            false => {
                // A name of this thread's own.
                static COUNT: AtomicU64 = AtomicU64::new(0);
                let n = COUNT.fetch_add(1, Ordering::Relaxed);
                format!("{}-{}-{n}.part", entry.sha256, std::process::id())
            }
        });
        let fetched = self.obtain(store, entry, &part).and_then(|file| {
            // Whoever counts what the cache holds sees it under one name or the other.
            let _counting = self.folder.count()?;
            std::fs::rename(&part, &path).map_err(|e| self.folder.error(&path, e.to_string()))?;
            Ok(file)
        });
        if fetched.is_err() {
            // A part that stays is overwritten by the next try.
            let _ = std::fs::remove_file(&part);
        }
        Ok((path, fetched?))
    }

    /// Writes the whole, verified shard as the file `part`. If the disk is full before the cache is, older shards go.
    fn obtain(&self, store: &Store, entry: &ShardEntry, part: &Path) -> Result<File, ShardError> {
        loop {
            let mut file = self.reserve(entry.bytes, part)?;
            if self.download(store, entry, &mut file)? {
                return Ok(file);
            }
            drop(file);
            let _ = std::fs::remove_file(part);
            let _counting = self.folder.count()?;
            if evict(self.folder.contents()?.1, entry.bytes) == 0 {
                return Err(self
                    .folder
                    .error(&self.folder.dir, "its disk is full: free some space, or take a larger disk".into()));
            }
        }
    }

    /// Writes and verifies the shard. Returns false if the disk is full.
    fn download(&self, store: &Store, entry: &ShardEntry, file: &mut File) -> Result<bool, ShardError> {
        let written = |done: std::io::Result<()>| match done {
            Ok(()) => Ok(true),
            Err(e) if matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => Ok(false),
            Err(e) => Err(self.folder.error(&self.folder.dir, format!("cannot be written: {e}"))),
        };
        let mut digest = Sha256::new();
        let mut read = 0;
        for piece in store.pieces(&entry.file, entry.bytes)? {
            let piece = piece?;
            read += piece.len() as u64;
            digest.update(&piece);
            if !written(file.write_all(&piece))? {
                return Ok(false);
            }
        }
        if read != entry.bytes {
            let difference = FormatError::Manifest(format!("ends at byte {read}"), entry.bytes.to_string());
            return Err(ShardError::shard(store.url_of(&entry.file), difference));
        }
        let sha256 = hex::encode(digest.finalize());
        if sha256 != entry.sha256 {
            let difference = FormatError::Manifest(format!("has sha256 {sha256}"), entry.sha256.clone());
            return Err(ShardError::shard(store.url_of(&entry.file), difference));
        }
        // On disk before it has its name: after a power failure a file of the right length is the right file.
        written(file.sync_all())
    }

    /// Evicts the shards used longest ago until `bytes` more fit, and takes that room with the file `part`. If others
    /// are fetching into the rest of the room, waits until they are done.
    fn reserve(&self, bytes: u64, part: &Path) -> Result<File, ShardError> {
        if bytes > self.max_bytes {
            let message = format!("a shard has {bytes} bytes, more than the whole cache: raise data.cache.max_gib");
            return Err(self.folder.error(&self.folder.dir, message));
        }
        loop {
            let counting = self.folder.count()?;
            let _ = std::fs::remove_file(part);
            let (taken, shards) = self.folder.contents()?;
            let lacking = taken.saturating_add(bytes).saturating_sub(self.max_bytes);
            // Without locks nobody knows whom to wait for: then the cache is rather too large for a while.
            if !self.folder.locks || shards.iter().map(|(_, len, _)| len).sum::<u64>() >= lacking {
                evict(shards, lacking);
                let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(part);
                let file = file.map_err(|e| self.folder.error(part, e.to_string()))?;
                file.set_len(bytes).map_err(|e| self.folder.error(part, e.to_string()))?;
                return Ok(file);
            }
            drop(counting);
            std::thread::sleep(WAIT);
        }
    }
}
