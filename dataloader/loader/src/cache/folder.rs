//! The folder of a cache: what lies in it, and taking turns at it.

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use defusion_datasets::ShardEntry;

use crate::shard::ShardError;

/// Name of the file that is locked while what the cache holds is counted or changed.
const ROOM: &str = "room.lock";
/// How long a process is silent, where nothing can be locked, until it is thought to be gone.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A shard in the cache: when it was used last, its bytes, its file.
pub(super) type Held = (SystemTime, u64, PathBuf);

#[derive(Clone, Debug)]
pub(super) struct Folder {
    pub(super) dir: PathBuf,
    /// Whether files in it can be locked.
    pub(super) locks: bool,
    /// What names it, for messages.
    setting: &'static str,
}

impl Folder {
    /// Makes the folder if it is not there.
    pub(super) fn open(dir: PathBuf, setting: &'static str) -> Result<Self, ShardError> {
        let mut folder = Self { dir, locks: true, setting };
        let dir = &folder.dir;
        std::fs::create_dir_all(dir).map_err(|e| folder.error(dir, format!("cannot be made: {e}")))?;
        if let Err(TryLockError::Error(e)) = folder.open_lock(&dir.join(ROOM))?.try_lock() {
            tracing::warn!(
                "shard cache {}: its file system does not lock files ({e}), so each process fetches shards for itself; name a \
                 local disk by {setting}",
                dir.display()
            );
            folder.locks = false;
        }
        Ok(folder)
    }

    /// Waits until nobody else counts or changes what the cache holds.
    pub(super) fn count(&self) -> Result<Option<File>, ShardError> {
        self.lock(ROOM)
    }

    /// Waits for the lock; it is held as long as the file is open. `None` if there are no locks.
    pub(super) fn lock(&self, name: &str) -> Result<Option<File>, ShardError> {
        if !self.locks {
            return Ok(None);
        }
        let path = self.dir.join(name);
        let file = self.open_lock(&path)?;
        file.lock().map_err(|e| self.error(&path, format!("cannot be locked: {e}")))?;
        Ok(Some(file))
    }

    /// Whether the process that was fetching a part is gone: nobody holds its lock; without locks, nobody has written for long.
    fn is_abandoned(&self, part: &Path, metadata: &Metadata) -> bool {
        if self.locks {
            let file = OpenOptions::new().write(true).open(part.with_extension("lock"));
            return !file.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)));
        }
        metadata.modified().ok().and_then(|at| at.elapsed().ok()).is_some_and(|silent| silent > ABANDONED)
    }

    /// The file that is locked for `path`; it is locked as long as it is open.
    fn open_lock(&self, path: &Path) -> Result<File, ShardError> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path);
        file.map_err(|e| self.error(path, format!("cannot be opened: {e}")))
    }

    pub(super) fn error(&self, path: &Path, message: String) -> ShardError {
        let message = format!("{message}; {} names its folder", self.setting);
        ShardError::Cache { dir: path.display().to_string(), message }
    }

    /// Bytes taken, and the shards. Deletes what processes that died were fetching.
    pub(super) fn contents(&self) -> Result<(u64, Vec<Held>), ShardError> {
        let (mut taken, mut shards) = (0u64, Vec::new());
        let entries = std::fs::read_dir(&self.dir).map_err(|e| self.error(&self.dir, e.to_string()))?;
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(metadata) = entry.metadata() else { continue };
            match path.extension().and_then(|e| e.to_str()) {
                Some("parquet") => {
                    taken += metadata.len();
                    shards.push((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), metadata.len(), path));
                }
                Some("part") if self.is_abandoned(&path, &metadata) => {
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
pub(super) fn evict(mut shards: Vec<Held>, bytes: u64) -> u64 {
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

/// Returns the shard's file if it is whole, marked as used now: eviction goes by this time. A file that cannot be marked is
/// merely evicted earlier.
pub(super) fn held(path: &Path, entry: &ShardEntry) -> Option<File> {
    let file = File::open(path).ok()?;
    if file.metadata().ok()?.len() != entry.bytes {
        return None;
    }
    let _ = file.set_modified(SystemTime::now());
    Some(file)
}
