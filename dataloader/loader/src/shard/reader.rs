//! Reading a prepared dataset.

use std::cell::RefCell;
use std::fs::File;
use std::sync::Arc;

use defusion_config::RemoteCache;
use defusion_datasets::ShardEntry;

use super::blob::BlobReader;
use super::file::{Row, ShardFile};
use super::grid::Rect;
use super::open::ShardFiles;
use super::{FormatError, Pair, Record, ShardError, read_manifest};
use crate::cache::Cache;
use defusion_imaging::Image;
use defusion_imaging::pixels::Pixels;
use defusion_storage::Store;

/// A prepared dataset, or one split of it. Images are counted from 0 in the manifest's order. May be used from many
/// threads at once.
#[derive(Debug)]
pub struct DatasetReader {
    dataset: String,
    url: String,
    files: ShardFiles,
    shards: Vec<ShardEntry>,
    /// Number of the first image of each shard; and the number of images.
    starts: Vec<usize>,
}

impl DatasetReader {
    /// Opens the dataset in the folder `url` (a path, or any URL that [`Store`] takes). Only the manifest is read; shards are
    /// opened at their first use. Shards that do not lie on this machine come through the cache.
    ///
    /// # Errors
    /// [`ShardError::NotPrepared`], [`ShardError::Manifest`], [`ShardError::Store`], [`ShardError::Cache`].
    pub fn open(url: &str, cache: &RemoteCache) -> Result<Self, ShardError> {
        let store = Store::open(url)?;
        let manifest = read_manifest(&store)?;
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

    /// Opens a dataset as [`DatasetReader::open`] does, but only the images of one split.
    ///
    /// # Errors
    /// [`ShardError::NoSplit`]; else as [`DatasetReader::open`].
    pub fn open_split(url: &str, split: &str, cache: &RemoteCache) -> Result<Self, ShardError> {
        let mut reader = Self::open(url, cache)?;
        let known = reader.splits().join(", ");
        let shards = std::mem::take(&mut reader.shards);
        reader.keep(shards.into_iter().filter(|s| s.split == split).collect());
        if reader.is_empty() {
            return Err(ShardError::NoSplit { url: reader.url, split: split.to_owned(), known });
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

    /// Number of images.
    pub fn len(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Whether there are no images.
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

    /// Number of images in each shard, in order: what the sampling plan's locality goes by.
    pub fn shard_rows(&self) -> Vec<u64> {
        self.shards.iter().map(|s| s.rows).collect()
    }

    /// File of the shard that holds image `i`, for messages.
    pub fn shard_of(&self, i: usize) -> String {
        self.place(i).map(|(shard, _)| self.files.store.url_of(&self.shards[shard].file)).unwrap_or_default()
    }

    /// Returns all that is known of image `i` without its pixels.
    ///
    /// # Errors
    /// [`ShardError::Index`], [`ShardError::Shard`], [`ShardError::Store`], [`ShardError::Cache`].
    pub fn record(&self, i: usize) -> Result<Record, ShardError> {
        let (shard, row) = self.row(i)?;
        Ok(Record::of(&shard.rows[row]))
    }

    /// Reads the part of `w` x `h` pixels at (`x`, `y`) of both images. Only the tiles that it touches are read.
    ///
    /// # Errors
    /// [`ShardError::Image`], also if the part leaves the image; [`ShardError::Index`]; if the shard cannot be opened,
    /// [`ShardError::Shard`], [`ShardError::Store`], [`ShardError::Cache`].
    pub fn crop(&self, i: usize, x: usize, y: usize, w: usize, h: usize) -> Result<Pair, ShardError> {
        self.with_row(i, |file, shard, row, reader| {
            let want = part(row, x, y, w, h)?;
            let hq = reader.image(shard.stored(file, row, row.hq), want)?;
            let lq = match row.lq {
                Some(lq) => reader.image(shard.stored(file, row, lq), want)?,
                None => hq.clone(),
            };
            Ok(Pair { lq, hq })
        })
    }

    /// Reads a part as [`DatasetReader::crop`] does, of the clean image only.
    ///
    /// # Errors
    /// As [`DatasetReader::crop`].
    pub fn crop_hq(&self, i: usize, x: usize, y: usize, w: usize, h: usize) -> Result<Image, ShardError> {
        self.with_row(i, |file, shard, row, reader| {
            let want = part(row, x, y, w, h)?;
            reader.image(shard.stored(file, row, row.hq), want)
        })
    }

    /// Reads a part as [`DatasetReader::crop`] does, of the degraded image only; of the clean one if there is none.
    ///
    /// # Errors
    /// As [`DatasetReader::crop`].
    pub fn crop_lq(&self, i: usize, x: usize, y: usize, w: usize, h: usize) -> Result<Image, ShardError> {
        self.with_row(i, |file, shard, row, reader| {
            let want = part(row, x, y, w, h)?;
            reader.image(shard.stored(file, row, row.lq.unwrap_or(row.hq)), want)
        })
    }

    /// Reads both images, whole.
    ///
    /// # Errors
    /// As [`DatasetReader::crop`].
    pub fn full(&self, i: usize) -> Result<Pair, ShardError> {
        let record = self.record(i)?;
        self.crop(i, 0, 0, record.width, record.height)
    }

    /// Reads both images at the depth of their files, bit for bit: clean, and degraded if there is one.
    ///
    /// # Errors
    /// As [`DatasetReader::crop`].
    pub fn pixels(&self, i: usize) -> Result<(Pixels, Option<Pixels>), ShardError> {
        self.with_row(i, |file, shard, row, reader| shard.pixels(file, row, reader))
    }

    /// Makes sure that the shard of image `i` lies on this machine: what a loader does ahead of need.
    ///
    /// # Errors
    /// [`ShardError::Index`], [`ShardError::Shard`], [`ShardError::Store`], [`ShardError::Cache`].
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
        read: impl FnOnce(&File, &ShardFile, &Row, &mut BlobReader) -> Result<T, FormatError>,
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
            reader.and_then(|reader| read(&file, &shard, row, reader)).map_err(|source| ShardError::Image {
                file: shard.shown.clone(),
                key: row.key.clone(),
                source: Box::new(source),
            })
        })
    }
}

fn part(row: &Row, x: usize, y: usize, w: usize, h: usize) -> Result<Rect, FormatError> {
    let inside = |at: usize, len: usize, size: u32| at.checked_add(len).is_some_and(|end| end <= size as usize);
    if w == 0 || h == 0 || !inside(x, w, row.width) || !inside(y, h, row.height) {
        return Err(FormatError::Part { size: [row.width, row.height], part: [x, y, w, h] });
    }
    Ok(Rect { x, y, w, h })
}
