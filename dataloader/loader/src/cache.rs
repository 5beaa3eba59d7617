//! A bounded folder of remote shards, shared by the workers of a host.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use defusion_config::RemoteCache;
use defusion_datasets::ShardEntry;
use sha2::{Digest, Sha256};

use crate::shard::{FormatError, ShardError};
use defusion_storage::Store;

/// Name of the file that is locked while what the cache holds is counted or changed.
const ROOM: &str = "room.lock";
/// How often a full cache is looked at again.
const WAIT: Duration = Duration::from_millis(20);

/// A shard in the cache: when it was used last, its bytes, its file.
type Held = (SystemTime, u64, PathBuf);

/// A cache of whole shard files, each named by its sha256. Processes may share it: a file appears under its name only
/// when it is whole and verified, one process at a time fetches it, and those that lose the race use it.
#[derive(Clone, Debug)]
pub struct Cache {
    dir: PathBuf,
    max_bytes: u64,
}

impl Cache {
    /// Opens the cache that the config describes; makes its folder.
    ///
    /// # Errors
    /// [`ShardError::Cache`].
    pub fn open(config: &RemoteCache) -> Result<Self, ShardError> {
        let dir = match &config.dir {
            Some(dir) => PathBuf::from(dir),
            None => std::env::temp_dir().join("defusion-shards"),
        };
        std::fs::create_dir_all(&dir).map_err(|e| error(&dir, format!("cannot be made: {e}; set data.cache.dir")))?;
        Ok(Self { dir, max_bytes: (config.max_gib.max(0.0) * (1u64 << 30) as f64) as u64 })
    }

    /// Returns the local file of a shard, fetched and verified if it is not there; open, so that no eviction takes it away
    /// from who asked.
    ///
    /// # Errors
    /// [`ShardError::Shard`] or [`ShardError::Store`], which name the shard; [`ShardError::Cache`], if the cache's folder is to
    /// blame.
    pub fn fetch(&self, store: &Store, entry: &ShardEntry) -> Result<(PathBuf, File), ShardError> {
        let path = self.dir.join(format!("{}.parquet", entry.sha256));
        if let Some(file) = held(&path, entry) {
            return Ok((path, file));
        }
        // Held while fetching; the kernel drops it when the process dies, however it dies. Lock files stay: deleting
        // one would let two processes hold "the" lock.
        let _fetching = lock(&self.dir.join(format!("{}.lock", entry.sha256)))?;
        if let Some(file) = held(&path, entry) {
            return Ok((path, file));
        }
        let part = self.dir.join(format!("{}.part", entry.sha256));
        let fetched = self.obtain(store, entry, &part).and_then(|file| {
            // Whoever counts what the cache holds sees it under one name or the other.
            let _counting = lock(&self.dir.join(ROOM))?;
            std::fs::rename(&part, &path).map_err(|e| error(&path, e.to_string()))?;
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
            let _counting = lock(&self.dir.join(ROOM))?;
            if evict(self.contents()?.1, entry.bytes) == 0 {
                let message = "its disk is full: free some space, or set data.cache.dir to a larger disk";
                return Err(error(&self.dir, message.into()));
            }
        }
    }

    /// Writes and verifies the shard. Returns false if the disk is full.
    fn download(&self, store: &Store, entry: &ShardEntry, file: &mut File) -> Result<bool, ShardError> {
        let written = |done: std::io::Result<()>| match done {
            Ok(()) => Ok(true),
            Err(e) if matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => Ok(false),
            Err(e) => Err(error(&self.dir, format!("cannot be written: {e}"))),
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
            return Err(error(&self.dir, message));
        }
        loop {
            let counting = lock(&self.dir.join(ROOM))?;
            let _ = std::fs::remove_file(part);
            let (taken, shards) = self.contents()?;
            let lacking = taken.saturating_add(bytes).saturating_sub(self.max_bytes);
            if shards.iter().map(|(_, len, _)| len).sum::<u64>() >= lacking {
                evict(shards, lacking);
                let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(part);
                let file = file.map_err(|e| error(part, e.to_string()))?;
                file.set_len(bytes).map_err(|e| error(part, e.to_string()))?;
                return Ok(file);
            }
            drop(counting);
            std::thread::sleep(WAIT);
        }
    }

    /// Bytes taken, and the shards. Deletes what processes that died were fetching.
    fn contents(&self) -> Result<(u64, Vec<Held>), ShardError> {
        let (mut taken, mut shards) = (0u64, Vec::new());
        let entries = std::fs::read_dir(&self.dir).map_err(|e| error(&self.dir, e.to_string()))?;
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(metadata) = entry.metadata() else { continue };
            match path.extension().and_then(|e| e.to_str()) {
                Some("parquet") => {
                    taken += metadata.len();
                    shards.push((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), metadata.len(), path));
                }
                Some("part") if !is_locked(&path.with_extension("lock")) => {
                    let _ = std::fs::remove_file(&path);
                }
                Some("part") => taken += metadata.len(),
                _ => {}
            }
        }
        Ok((taken, shards))
    }
}

/// Deletes shards, those used longest ago first, until `bytes` are free; returns the bytes freed.
fn evict(mut shards: Vec<Held>, bytes: u64) -> u64 {
    shards.sort_unstable();
    let mut freed = 0;
    for (_, len, path) in shards {
        if freed >= bytes {
            break;
        }
        // A reader that has it open keeps what it reads; one that wants it later fetches it again.
        if std::fs::remove_file(&path).is_ok() {
            freed += len;
        }
    }
    freed
}

/// Waits for the lock; it is held as long as the file is open.
fn lock(path: &Path) -> Result<File, ShardError> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path);
    let file = file.map_err(|e| error(path, e.to_string()))?;
    file.lock().map_err(|e| error(path, format!("cannot be locked: {e}")))?;
    Ok(file)
}

fn is_locked(path: &Path) -> bool {
    let file = OpenOptions::new().write(true).open(path);
    file.is_ok_and(|file| matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock)))
}

fn error(path: &Path, message: String) -> ShardError {
    ShardError::Cache { dir: path.display().to_string(), message }
}

/// Returns the shard's file if it is whole, marked as used now: eviction goes by this time. A file that cannot be marked is
/// merely evicted earlier.
fn held(path: &Path, entry: &ShardEntry) -> Option<File> {
    let file = File::open(path).ok()?;
    if file.metadata().ok()?.len() != entry.bytes {
        return None;
    }
    let _ = file.set_modified(SystemTime::now());
    Some(file)
}
