//! The shard files of a dataset: fetched and opened at their first use, their rows kept.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use super::file::ShardFile;
use super::{FormatError, ShardError};
use crate::cache::Cache;
use defusion_datasets::ShardEntry;
use defusion_storage::Store;

/// Shards whose rows are held in memory; about 100 bytes a row.
const HELD: usize = 512;

/// Where a dataset's shards lie, and those that are open.
#[derive(Debug)]
pub(crate) struct ShardFiles {
    pub(crate) store: Store,
    /// Only for shards that do not lie on this machine.
    pub(crate) cache: Option<Cache>,
    held: Mutex<Held>,
}

/// A shard that is being opened, or is open.
type Slot = Arc<Mutex<Option<Arc<ShardFile>>>>;

#[derive(Debug, Default)]
struct Held {
    slots: HashMap<usize, (Slot, u64)>,
    clock: u64,
}

impl ShardFiles {
    pub(crate) fn new(store: Store, cache: Option<Cache>) -> Self {
        Self { store, cache, held: Mutex::default() }
    }

    /// The rows of shard `n`: fetched and opened once, by the first thread that wants them.
    pub(crate) fn get(&self, n: usize, entry: &ShardEntry) -> Result<Arc<ShardFile>, ShardError> {
        let slot = self.held.lock().unwrap_or_else(PoisonError::into_inner).slot(n);
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shard) = &*slot {
            return Ok(shard.clone());
        }
        let shard = Arc::new(self.open(entry)?);
        *slot = Some(shard.clone());
        Ok(shard)
    }

    /// The bytes of an open shard; fetched again if another process has evicted it from the cache.
    pub(crate) fn bytes(&self, shard: &ShardFile, entry: &ShardEntry) -> Result<File, ShardError> {
        match (File::open(&shard.path), &self.cache) {
            (Err(e), Some(cache)) if e.kind() == std::io::ErrorKind::NotFound => Ok(cache.fetch(&self.store, entry)?.1),
            (opened, _) => opened.map_err(|e| ShardError::shard(&shard.shown, e)),
        }
    }

    fn open(&self, entry: &ShardEntry) -> Result<ShardFile, ShardError> {
        let shown = self.store.url_of(&entry.file);
        let (path, file) = match (self.store.local_path(), &self.cache) {
            (Some(dir), _) => {
                let path = dir.join(&entry.file);
                let file = File::open(&path).map_err(|e| ShardError::shard(&shown, e))?;
                (path, file)
            }
            (None, Some(cache)) => cache.fetch(&self.store, entry)?,
            (None, None) => {
                return Err(ShardError::shard(shown, FormatError::Io("is neither local nor cached".into())));
            }
        };
        let bytes = file.metadata().map_err(|e| ShardError::shard(&shown, e))?.len();
        if bytes != entry.bytes {
            let difference = FormatError::Manifest(format!("has {bytes} bytes"), entry.bytes.to_string());
            return Err(ShardError::shard(shown, difference));
        }
        let shard = ShardFile::open(&file, path, &shown)?;
        if shard.rows.len() as u64 != entry.rows {
            let difference = FormatError::Manifest(format!("has {} images", shard.rows.len()), entry.rows.to_string());
            return Err(ShardError::shard(shown, difference));
        }
        Ok(shard)
    }
}

impl Held {
    /// The place of shard `n`; the one that was longest unused makes room for it.
    fn slot(&mut self, n: usize) -> Slot {
        self.clock += 1;
        let entry = self.slots.entry(n).or_default();
        entry.1 = self.clock;
        let slot = entry.0.clone();
        if self.slots.len() > HELD
            && let Some(oldest) = self.slots.iter().min_by_key(|(_, (_, used))| *used).map(|(n, _)| *n)
        {
            self.slots.remove(&oldest);
        }
        slot
    }
}
