//! From image files to shards: `defusion data prepare`.
//!
//! The headers of all files are read first, and what is wrong with names, sizes and counts is told before anything is
//! written. Then all cores decode and pack while one thread writes shards in order. What goes into which shard depends
//! on the source alone. Beside each finished shard lies a note of what went into it; a preparation that was killed
//! finds the notes and goes on behind them. The manifest comes last, and the notes are deleted.

mod inspect;
mod notes;
mod pack;
mod report;

use std::path::Path;

use defusion_config::Degradation;
use defusion_datasets::{Descriptor, Listing, Problem, ScanError};

pub use report::{Report, SplitReport};

use crate::shard::{DEFAULT_TILE, MANIFEST, MAX_PIXELS, Manifest, ShardError, TileCodec};
use crate::store::{Store, StoreError};

/// How shards are made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the dataset: its folder below `to`, and in the manifest.
    pub dataset: String,
    /// Folder or URL that holds one folder of shards per dataset: `data.shards` of the config.
    pub to: String,
    /// Side of a tile, pixels.
    pub tile: u32,
    /// What is in a tile.
    pub codec: TileCodec,
    /// Decoded bytes of the pictures of one shard; a shard takes about half of that.
    pub shard_bytes: u64,
    /// A picture with more pixels is a problem.
    pub max_pixels: u64,
    /// Threads that decode and pack; 0: one per core.
    pub threads: usize,
    /// Replace a finished dataset, or the unfinished one of another source.
    pub overwrite: bool,
    /// Leave out the pictures that have a problem, and go on with other counts than published. Otherwise any problem
    /// ends the preparation without a manifest.
    pub leave_out_problems: bool,
}

impl Options {
    /// The usual options.
    pub fn new(dataset: impl Into<String>, to: impl Into<String>) -> Self {
        Self {
            dataset: dataset.into(),
            to: to.into(),
            tile: DEFAULT_TILE,
            codec: TileCodec::default(),
            shard_bytes: 256 << 20,
            max_pixels: 100_000_000,
            threads: 0,
            overwrite: false,
            leave_out_problems: false,
        }
    }

    pub(crate) fn threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        }
    }
}

/// How far a preparation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Headers of files read.
    Inspected {
        /// Pairs done.
        done: u64,
        /// Pairs in all.
        total: u64,
    },
    /// Pairs decoded and packed, those of shards found finished included.
    Packed {
        /// Pairs done.
        done: u64,
        /// Pairs in all.
        total: u64,
    },
}

/// Why a dataset could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The source cannot be scanned.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// The target cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The target's manifest cannot be read.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// The target holds a finished dataset.
    #[error("{url} holds a prepared dataset already ({rows} pairs); nothing was written. Replace it with --overwrite")]
    Exists {
        /// The dataset's folder.
        url: String,
        /// Its pairs.
        rows: u64,
    },
    /// The target holds the beginning of something else.
    #[error(
        "{url} holds shards of another preparation (another source, or other options): {file}; nothing was written. Replace them with --overwrite"
    )]
    Foreign {
        /// The dataset's folder.
        url: String,
        /// One of the shards.
        file: String,
    },
    /// Something is wrong with the source.
    #[error("{dataset}: {n} problem(s); no manifest was written. Mend them, or go on without these pictures (--leave-out-problems):\n{list}",
        n = problems.len(), list = report::lines(problems, 50))]
    Problems {
        /// The dataset.
        dataset: String,
        /// All of them.
        problems: Vec<Problem>,
    },
    /// No pair is left.
    #[error("{dataset}: there is nothing to prepare")]
    Empty {
        /// The dataset.
        dataset: String,
    },
    /// A picture that decodes but cannot be packed, or Parquet's complaint.
    #[error("{file}: {message}")]
    Pack {
        /// Shard or picture.
        file: String,
        /// Why.
        message: String,
    },
    /// An option that cannot work.
    #[error("{0}")]
    Option(String),
}

/// The pairs of `descriptor` in the folder `root`. `degradations` says how the pictures of a generic descriptor are
/// degraded; `split` is the name that a descriptor's only split gets instead of its own.
///
/// # Errors
/// [`PrepareError::Scan`], [`PrepareError::Option`].
pub fn list_source(
    descriptor: &Descriptor,
    root: &Path,
    split: Option<&str>,
    degradations: &[Degradation],
) -> Result<Listing, PrepareError> {
    let mut descriptor = descriptor.clone();
    if !degradations.is_empty() {
        if !descriptor.degradations.is_empty() {
            let known = descriptor.degradations.iter().map(|d| d.name()).collect::<Vec<_>>().join(", ");
            return Err(PrepareError::Option(format!("dataset {} is degraded by {known} already", descriptor.name)));
        }
        descriptor.degradations = degradations.to_vec();
    }
    let mut listing = defusion_datasets::scan(&descriptor, root)?;
    if let Some(name) = split {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if descriptor.splits.len() != 1 || name.is_empty() || !name.bytes().all(plain) {
            let why =
                "only a dataset with a single split can be given another name of lower-case letters, digits and `_`";
            return Err(PrepareError::Option(format!("split `{name}`: {why}")));
        }
        listing.pairs.iter_mut().for_each(|pair| pair.split = name.to_owned());
        listing.problems.iter_mut().for_each(|problem| problem.split = name.to_owned());
    }
    Ok(listing)
}

/// The manifest of the dataset below `shards`; `None` where it is not prepared there.
///
/// # Errors
/// [`PrepareError::Shard`] where the place cannot be reached or the manifest is damaged.
pub fn prepared(shards: &str, dataset: &str) -> Result<Option<Manifest>, PrepareError> {
    let read = Store::open(&crate::store::join(shards, dataset)).map_err(ShardError::from);
    match read.and_then(|store| Manifest::read(&store)) {
        Ok(manifest) => Ok(Some(manifest)),
        Err(ShardError::NotPrepared { .. } | ShardError::Store(StoreError::NotFound { .. })) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Whether the folder `url` holds the beginning of a preparation.
///
/// # Errors
/// [`PrepareError::Store`].
pub fn is_begun(url: &str) -> Result<bool, PrepareError> {
    Ok(Store::open(url)?.list()?.iter().any(|name| notes::is_note(name)))
}

/// Makes the shards of `listing` in the folder `options.to`/`options.dataset`.
///
/// # Errors
/// [`PrepareError`]. Unless `overwrite` is set nothing that was there is changed or deleted.
pub fn prepare(
    listing: Listing,
    options: &Options,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Report, PrepareError> {
    crate::shard::check_tile(options.tile).map_err(PrepareError::Option)?;
    if options.max_pixels > MAX_PIXELS {
        return Err(PrepareError::Option(format!("a shard takes pictures of at most {MAX_PIXELS} pixels")));
    }
    let store = Store::create(&crate::store::join(&options.to, &options.dataset))?;
    if !options.overwrite && store.size(MANIFEST)?.is_some() {
        let rows = Manifest::read(&store)?.rows();
        return Err(PrepareError::Exists { url: store.url().into(), rows });
    }
    let Listing { pairs, mut problems, root, absent } = listing;
    let pairs = inspect::inspect(pairs, options, &mut problems, progress);
    refuse(&root, &mut problems, options)?;
    // From here on the folder is unfinished.
    store.delete(MANIFEST)?;
    let jobs = pack::jobs(pairs, options);
    let notes = notes::find(&store, &jobs, options)?;
    let packed = pack::pack(&store, &jobs, &notes, options, progress)?;
    problems.extend(packed.problems);
    refuse(&root, &mut problems, options)?;
    if packed.shards.is_empty() {
        return Err(PrepareError::Empty { dataset: options.dataset.clone() });
    }
    let manifest = Manifest::new(&options.dataset, packed.shards);
    store.put(MANIFEST, manifest.to_json().into())?;
    notes::clean(&store, &manifest)?;
    Ok(Report::new(store.url(), &manifest, packed.reused, absent, problems))
}

/// Names the files relative to `root`; any problem is an error, unless they are to be left out.
fn refuse(root: &Path, problems: &mut Vec<Problem>, options: &Options) -> Result<(), PrepareError> {
    for problem in problems.iter_mut() {
        if let Ok(relative) = Path::new(&problem.file).strip_prefix(root) {
            problem.file = relative.display().to_string();
        }
    }
    if problems.is_empty() || options.leave_out_problems {
        return Ok(());
    }
    problems.sort_by(|a, b| (&a.split, &a.file).cmp(&(&b.split, &b.file)));
    Err(PrepareError::Problems { dataset: options.dataset.clone(), problems: std::mem::take(problems) })
}
