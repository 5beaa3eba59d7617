//! Reading a prepared dataset.

use std::cell::RefCell;
use std::fs::File;
use std::sync::Arc;

use defusion_config::{Degradation, RemoteCache};

use super::blob::BlobReader;
use super::file::{Row, ShardFile};
use super::grid::Rect;
use super::open::ShardFiles;
use super::{Manifest, ShardEntry, ShardError};
use crate::Picture;
use crate::cache::Cache;
use crate::pixels::Pixels;
use crate::store::Store;

/// A prepared dataset, or one split of it. Pictures are counted from 0 in the manifest's order. May be used from many
/// threads at once.
#[derive(Debug)]
pub struct DatasetReader {
    dataset: String,
    url: String,
    files: ShardFiles,
    shards: Vec<ShardEntry>,
    /// Number of the first picture of each shard; and the number of pictures.
    starts: Vec<usize>,
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
            files: ShardFiles::new(store, cache),
            shards: Vec::new(),
            starts: Vec::new(),
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
        self.place(i).map(|(shard, _)| self.files.store.url_of(&self.shards[shard].file)).unwrap_or_default()
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
            let want = part(row, x, y, w, h)?;
            let hq = reader.picture(shard.stored(file, row, row.hq), want)?;
            let lq = match row.lq {
                Some(lq) => reader.picture(shard.stored(file, row, lq), want)?,
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
            let want = part(row, x, y, w, h)?;
            reader.picture(shard.stored(file, row, row.hq), want)
        })
    }

    /// As [`DatasetReader::crop`], but the degraded picture only; the clean one where there is none.
    ///
    /// # Errors
    /// [`ShardError`].
    pub fn crop_lq(&self, i: usize, x: usize, y: usize, w: usize, h: usize) -> Result<Picture, ShardError> {
        self.with_row(i, |file, shard, row, reader| {
            let want = part(row, x, y, w, h)?;
            reader.picture(shard.stored(file, row, row.lq.unwrap_or(row.hq)), want)
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
        self.files.cache.is_some()
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
        Ok((self.files.get(shard, &self.shards[shard])?, row))
    }

    fn with_row<T>(
        &self,
        i: usize,
        read: impl FnOnce(&File, &ShardFile, &Row, &mut BlobReader) -> Result<T, String>,
    ) -> Result<T, ShardError> {
        thread_local! {
            static READER: RefCell<Option<BlobReader>> = const { RefCell::new(None) };
        }
        let (n, number) = self.place(i)?;
        let shard = self.files.get(n, &self.shards[n])?;
        let file = self.files.bytes(&shard, &self.shards[n])?;
        let row = &shard.rows[number];
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
}

fn part(row: &Row, x: usize, y: usize, w: usize, h: usize) -> Result<Rect, String> {
    let inside = |at: usize, len: usize, size: u32| at.checked_add(len).is_some_and(|end| end <= size as usize);
    if w == 0 || h == 0 || !inside(x, w, row.width) || !inside(y, h, row.height) {
        return Err(format!("is {}x{}; it has no part of {w}x{h} at ({x}, {y})", row.width, row.height));
    }
    Ok(Rect { x, y, w, h })
}
