//! Reading a prepared dataset.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use defusion_config::{Degradation, RemoteCache};

use super::blob::{BlobReader, Grid, Rect};
use super::file::{Row, ShardFile};
use super::{Manifest, ShardEntry, ShardError};
use crate::Picture;
use crate::cache::Cache;
use crate::pixels::Pixels;
use crate::store::Store;

/// Shards whose rows are held in memory; about 100 bytes a row.
const OPEN_SHARDS: usize = 512;

/// A prepared dataset, or one split of it. Pictures are counted from 0 in the manifest's order. May be used from many
/// threads at once.
#[derive(Debug)]
pub struct DatasetReader {
    dataset: String,
    url: String,
    store: Store,
    cache: Option<Cache>,
    shards: Vec<ShardEntry>,
    /// Number of the first picture of each shard; and the number of pictures.
    starts: Vec<usize>,
    open: Mutex<OpenShards>,
}

/// What is known of a picture pair without its pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Path of the degraded file in the source.
    pub key: String,
    /// The split.
    pub split: String,
    /// Categories of the degraded picture, in order; empty for clean pictures.
    pub degradations: Vec<Degradation>,
    /// Pixels across.
    pub width: usize,
    /// Pixels down.
    pub height: usize,
    /// Whether there is a degraded picture.
    pub has_lq: bool,
}

/// A degraded picture and its clean one, or the same part of both.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The degraded picture; equal to `hq` where the dataset has clean pictures only.
    pub lq: Picture,
    /// The clean picture.
    pub hq: Picture,
}

/// A shard that is being opened, or is open.
type Slot = Arc<Mutex<Option<Arc<ShardFile>>>>;

#[derive(Debug, Default)]
struct OpenShards {
    slots: HashMap<usize, (Slot, u64)>,
    clock: u64,
}

impl DatasetReader {
    /// Opens the dataset in the folder `url` (a path, or any URL that [`Store`] takes). Only the manifest is read; shards are
    /// opened at their first use. Shards that do not lie on this machine come through the cache.
    ///
    /// # Errors
    /// [`ShardError`] naming the manifest.
    pub fn open(url: &str, cache: &RemoteCache) -> Result<Self, ShardError> {
        let store = Store::open(url)?;
        let manifest = Manifest::read(&store)?;
        let cache = match store.local_path() {
            Some(_) => None,
            None => Some(Cache::open(cache)?),
        };
        let mut reader = Self {
            dataset: manifest.dataset,
            url: store.url().to_owned(),
            store,
            cache,
            shards: Vec::new(),
            starts: Vec::new(),
            open: Mutex::default(),
        };
        reader.keep(manifest.shards);
        Ok(reader)
    }

    /// As [`DatasetReader::open`], but only the pictures of one split.
    ///
    /// # Errors
    /// [`ShardError::Manifest`] where the dataset has no such split; [`ShardError`].
    pub fn open_split(url: &str, split: &str, cache: &RemoteCache) -> Result<Self, ShardError> {
        let mut reader = Self::open(url, cache)?;
        let known = reader.splits().join(", ");
        let shards = std::mem::take(&mut reader.shards);
        reader.keep(shards.into_iter().filter(|s| s.split == split).collect());
        if reader.is_empty() {
            let message = format!("has no pictures of split `{split}`; it has {known}");
            return Err(ShardError::Manifest { url: reader.url, message });
        }
        Ok(reader)
    }

    fn keep(&mut self, shards: Vec<ShardEntry>) {
        let mut next = 0;
        self.starts = std::iter::once(0)
            .chain(shards.iter().map(|s| {
                next += s.rows as usize;
                next
            }))
            .collect();
        self.shards = shards;
    }

    /// Name of the dataset.
    pub fn dataset(&self) -> &str {
        &self.dataset
    }

    /// Its folder, for messages.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    /// True without pictures.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the shards.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(|s| s.bytes).sum()
    }

    /// Names of the splits, in their order.
    pub fn splits(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for shard in &self.shards {
            if !names.contains(&shard.split) {
                names.push(shard.split.clone());
            }
        }
        names
    }

    /// Pictures in each shard, in order: what the sampling plan's locality goes by.
    pub fn shard_rows(&self) -> Vec<u64> {
        self.shards.iter().map(|s| s.rows).collect()
    }

    /// File of the shard that holds picture `i`, for messages.
    pub fn shard_of(&self, i: usize) -> String {
        self.place(i).map(|(shard, _)| self.store.url_of(&self.shards[shard].file)).unwrap_or_default()
    }

    /// All that is known of picture `i` without its pixels.
    ///
    /// # Errors
    /// [`ShardError`] naming the shard.
    pub fn record(&self, i: usize) -> Result<Record, ShardError> {
        let (shard, row) = self.row(i)?;
        let row = &shard.rows[row];
        Ok(Record {
            key: row.key.clone(),
            split: row.split.to_string(),
            degradations: row.degradations.clone(),
            width: row.width as usize,
            height: row.height as usize,
            has_lq: row.lq.is_some(),
        })
    }

    /// The part of `w` x `h` pixels at (`x`, `y`) of both pictures. Only the tiles that it touches are read.
    ///
    /// # Errors
    /// [`ShardError`] naming the shard and the picture, also where the part leaves the picture.
    pub fn crop(&self, i: usize, x: usize, y: usize, w: usize, h: usize) -> Result<Pair, ShardError> {
        self.with_row(i, |file, shard, row, reader| {
            let (grid, want) = part(shard, row, x, y, w, h)?;
            let hq = reader.picture(file, row.hq, grid, shard.codec, want)?;
            let lq = match row.lq {
                Some(lq) => reader.picture(file, lq, grid, shard.codec, want)?,
                None => hq.clone(),
            };
            Ok(Pair { lq, hq })
        })
    }

    /// As [`DatasetReader::crop`], but the clean picture only.
    ///
    /// # Errors
    /// [`ShardError`].
    pub fn crop_hq(&self, i: usize, x: usize, y: usize, w: usize, h: usize) -> Result<Picture, ShardError> {
        self.with_row(i, |file, shard, row, reader| {
            let (grid, want) = part(shard, row, x, y, w, h)?;
            reader.picture(file, row.hq, grid, shard.codec, want)
        })
    }

    /// Both pictures, whole.
    ///
    /// # Errors
    /// [`ShardError`].
    pub fn full(&self, i: usize) -> Result<Pair, ShardError> {
        let record = self.record(i)?;
        self.crop(i, 0, 0, record.width, record.height)
    }

    /// Both pictures at the depth of their files, bit for bit: clean, and degraded where there is one.
    ///
    /// # Errors
    /// [`ShardError`].
    pub fn pixels(&self, i: usize) -> Result<(Pixels, Option<Pixels>), ShardError> {
        self.with_row(i, |file, shard, row, reader| shard.pixels(file, row, reader))
    }

    /// Makes sure that the shard of picture `i` lies on this machine. What a loader does ahead of need.
    ///
    /// # Errors
    /// [`ShardError`] naming the shard.
    pub fn prefetch(&self, i: usize) -> Result<(), ShardError> {
        self.row(i).map(|_| ())
    }

    /// Whether shards come over a network.
    pub fn is_remote(&self) -> bool {
        self.cache.is_some()
    }

    fn place(&self, i: usize) -> Result<(usize, usize), ShardError> {
        if i >= self.len() {
            return Err(ShardError::Index { dataset: self.dataset.clone(), index: i, len: self.len() });
        }
        let shard = self.starts.partition_point(|start| *start <= i) - 1;
        Ok((shard, i - self.starts[shard]))
    }

    fn row(&self, i: usize) -> Result<(Arc<ShardFile>, usize), ShardError> {
        let (shard, row) = self.place(i)?;
        Ok((self.shard(shard)?, row))
    }

    fn with_row<T>(
        &self,
        i: usize,
        read: impl Fn(&File, &ShardFile, &Row, &mut BlobReader) -> Result<T, String>,
    ) -> Result<T, ShardError> {
        thread_local! {
            static READER: RefCell<Option<BlobReader>> = const { RefCell::new(None) };
        }
        let (n, number) = self.place(i)?;
        let shard = self.shard(n)?;
        let row = &shard.rows[number];
        let file = match (File::open(&shard.path), &self.cache) {
            // Another process has evicted it from the cache.
            (Err(e), Some(cache)) if e.kind() == std::io::ErrorKind::NotFound => {
                cache.fetch(&self.store, &self.shards[n])?.1
            }
            (opened, _) => opened.map_err(|e| ShardError::shard(&shard.shown, e))?,
        };
        READER.with_borrow_mut(|slot| {
            let reader = match slot {
                Some(reader) => Ok(reader),
                None => BlobReader::new().map(|reader| slot.insert(reader)),
            };
            reader.and_then(|reader| read(&file, &shard, row, reader)).map_err(|message| ShardError::Picture {
                file: shard.shown.clone(),
                key: row.key.clone(),
                message,
            })
        })
    }

    /// The rows of shard `n`: fetched and opened once, by the first thread that wants them.
    fn shard(&self, n: usize) -> Result<Arc<ShardFile>, ShardError> {
        let slot = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.clock += 1;
            let now = open.clock;
            let entry = open.slots.entry(n).or_default();
            entry.1 = now;
            let slot = entry.0.clone();
            if open.slots.len() > OPEN_SHARDS
                && let Some(oldest) = open.slots.iter().min_by_key(|(_, (_, used))| *used).map(|(n, _)| *n)
            {
                open.slots.remove(&oldest);
            }
            slot
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shard) = &*slot {
            return Ok(shard.clone());
        }
        let shard = Arc::new(self.open_shard(&self.shards[n])?);
        *slot = Some(shard.clone());
        Ok(shard)
    }

    fn open_shard(&self, entry: &ShardEntry) -> Result<ShardFile, ShardError> {
        let shown = self.store.url_of(&entry.file);
        let (path, file) = match (self.store.local_path(), &self.cache) {
            (Some(dir), _) => {
                let path = dir.join(&entry.file);
                let file = File::open(&path).map_err(|e| ShardError::shard(&shown, e))?;
                (path, file)
            }
            (None, Some(cache)) => cache.fetch(&self.store, entry)?,
            (None, None) => return Err(ShardError::shard(shown, "is neither local nor cached")),
        };
        let bytes = file.metadata().map_err(|e| ShardError::shard(&shown, e))?.len();
        if bytes != entry.bytes {
            let message = format!("has {bytes} bytes, but the manifest says {}", entry.bytes);
            return Err(ShardError::shard(shown, message));
        }
        let shard = ShardFile::open(&file, path, &shown)?;
        if shard.rows.len() as u64 != entry.rows {
            let message = format!("has {} pictures, but the manifest says {}", shard.rows.len(), entry.rows);
            return Err(ShardError::shard(shown, message));
        }
        Ok(shard)
    }
}

fn part(shard: &ShardFile, row: &Row, x: usize, y: usize, w: usize, h: usize) -> Result<(Grid, Rect), String> {
    let inside = |at: usize, len: usize, size: u32| at.checked_add(len).is_some_and(|end| end <= size as usize);
    if w == 0 || h == 0 || !inside(x, w, row.width) || !inside(y, h, row.height) {
        return Err(format!("is {}x{}; it has no part of {w}x{h} at ({x}, {y})", row.width, row.height));
    }
    Ok((shard.grid(row), Rect { x, y, w, h }))
}
