//! From image files to shards.
//!
//! The headers of all files are read first, and what is wrong with names, sizes and counts is told before anything is
//! written. Then all cores decode and pack while one thread writes shards in order. What goes into which shard depends
//! on the source alone. Beside each finished shard lies a note of what went into it; a preparation that was killed
//! finds the notes and goes on behind them. The manifest comes last, and the notes are deleted.

mod error;
mod inspect;
mod job;
mod notes;
mod options;
mod pack;
mod report;

use std::path::Path;

use defusion_config::Degradation;
use defusion_datasets::{Descriptor, Listing, Problem, ShardManifest};

pub use error::PrepareError;
pub use options::{PrepareOptions, Progress};
pub use report::{Report, SplitReport};

use crate::shard::{MANIFEST, MAX_PIXELS, ShardError, read_manifest};
use defusion_storage::{Store, StoreError};

/// Lists the pairs of `descriptor` in the folder `root`. `degradations` says how the images of a generic descriptor are
/// degraded; `split` is the name that a descriptor's only split gets instead of its own.
///
/// # Errors
/// [`PrepareError::Scan`], [`PrepareError::Degradations`], [`PrepareError::Split`].
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
            return Err(PrepareError::Degradations { dataset: descriptor.name, known });
        }
        descriptor.degradations = degradations.to_vec();
    }
    let mut listing = defusion_datasets::scan(&descriptor, root)?;
    if let Some(name) = split {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if descriptor.splits.len() != 1 || name.is_empty() || !name.bytes().all(plain) {
            return Err(PrepareError::Split(name.to_owned()));
        }
        listing.pairs.iter_mut().for_each(|pair| pair.split = name.to_owned());
        listing.problems.iter_mut().for_each(|problem| problem.split = name.to_owned());
    }
    Ok(listing)
}

/// Reads the manifest of the dataset below `shards`; `None` if it is not prepared there.
///
/// # Errors
/// [`PrepareError::Shard`] if the place cannot be reached or the manifest is damaged.
pub fn prepared(shards: &str, dataset: &str) -> Result<Option<ShardManifest>, PrepareError> {
    let read = Store::open(&defusion_storage::join(shards, dataset)).map_err(ShardError::from);
    match read.and_then(|store| read_manifest(&store)) {
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
    options: &PrepareOptions,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Report, PrepareError> {
    crate::shard::check_tile(options.tile).map_err(PrepareError::Tile)?;
    if options.max_pixels > MAX_PIXELS {
        return Err(PrepareError::MaxPixels);
    }
    let store = Store::create(&defusion_storage::join(&options.to, &options.dataset))?;
    if !options.overwrite && store.size(MANIFEST)?.is_some() {
        let rows = read_manifest(&store)?.rows();
        return Err(PrepareError::Exists { url: store.url().into(), rows });
    }
    let Listing { pairs, mut problems, root, absent, passed_over } = listing;
    let pairs = inspect::inspect(pairs, options, &mut problems, progress);
    refuse(&root, &mut problems, options)?;
    // From here on the folder is unfinished.
    store.delete(MANIFEST)?;
    let jobs = job::jobs(pairs, options);
    let notes = notes::find(&store, &jobs, options)?;
    let packed = pack::pack(&store, &jobs, &notes, options, progress)?;
    problems.extend(packed.problems);
    refuse(&root, &mut problems, options)?;
    if packed.shards.is_empty() {
        return Err(PrepareError::Empty { dataset: options.dataset.clone() });
    }
    let manifest = ShardManifest::new(&options.dataset, packed.shards);
    store.put(MANIFEST, manifest.to_json().into())?;
    notes::clean(&store, &manifest)?;
    let reused_shards = packed.reused;
    Ok(Report { reused_shards, absent, passed_over, problems, ..Report::of(store.url(), &manifest) })
}

/// Names the files relative to `root`; any problem is an error, unless they are to be left out.
fn refuse(root: &Path, problems: &mut Vec<Problem>, options: &PrepareOptions) -> Result<(), PrepareError> {
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
