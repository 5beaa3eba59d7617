//! Checking every byte of a prepared dataset.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use defusion_datasets::ShardEntry;
use sha2::{Digest, Sha256};

use crate::cache::Cache;
use crate::ordered::ordered_map;
use crate::shard::{BlobReader, FormatError, ShardError, ShardFile, read_manifest};
use defusion_storage::{Store, StoreError};

/// What was checked of a dataset, and what is wrong.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The dataset's folder.
    pub url: String,
    /// Its name.
    pub dataset: String,
    /// Shards that are sound.
    pub shards: u64,
    /// Pairs in them.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// One error for each shard that is damaged or missing.
    pub problems: Vec<ShardError>,
    /// One error for each shard that could not be read, so that nothing is known of it.
    pub unread: Vec<ShardError>,
}

impl std::fmt::Display for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = self.bytes as f64 / f64::from(1 << 20);
        writeln!(
            f,
            "{} in {}: {} shards with {} pairs, {mib:.1} MiB, are sound",
            self.dataset, self.url, self.shards, self.rows
        )?;
        self.problems.iter().chain(&self.unread).try_for_each(|problem| writeln!(f, "  {problem}"))
    }
}

/// Checks the dataset in the folder `url`: size and sha256 of every shard against the manifest, and that every tile of
/// every image unpacks. Shards that are not on this machine are fetched, one at a time per thread, into the system's
/// temporary folder; the cache of the training runs is neither used nor filled. `threads`: 0 for one per core.
/// `progress` is told the pairs checked and the pairs in all.
///
/// # Errors
/// [`ShardError::NotPrepared`], [`ShardError::Manifest`], [`ShardError::Store`], [`ShardError::Cache`]. What is wrong with
/// shards is in [`Verified::problems`] and [`Verified::unread`].
pub fn verify(url: &str, threads: usize, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<Verified, ShardError> {
    let store = Store::open(url)?;
    let manifest = read_manifest(&store)?;
    let total = manifest.rows();
    let scratch = match store.local_path() {
        Some(_) => None,
        None => Some(Scratch::new()?),
    };
    let mut verified = Verified {
        url: store.url().to_owned(),
        dataset: manifest.dataset.clone(),
        shards: 0,
        rows: 0,
        bytes: 0,
        problems: Vec::new(),
        unread: Vec::new(),
    };
    let done = AtomicU64::new(0);
    let each = || progress(done.fetch_add(1, Ordering::Relaxed) + 1, total);
    let threads = match threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    let work = |entry: &ShardEntry| (entry.clone(), check(&store, entry, scratch.as_ref(), &each));
    let result: Result<(), std::convert::Infallible> =
        ordered_map(threads, 2 * threads, manifest.shards.iter(), work, |(entry, checked)| {
            match checked {
                Ok(()) => {
                    verified.shards += 1;
                    verified.rows += entry.rows;
                    verified.bytes += entry.bytes;
                }
                Err(problem) if problem.is_damage() => verified.problems.push(problem),
                Err(problem) => verified.unread.push(problem),
            }
            Ok(())
        });
    let Ok(()) = result;
    Ok(verified)
}

/// Compares the sha256 of the shards `part`, `part + parts`, ... of the dataset in the folder `url` with its manifest.
/// Shards that are not on this machine are left out: fetching them compares them.
///
/// # Errors
/// [`ShardError`], which names the shard.
pub fn digests(url: &str, part: usize, parts: usize) -> Result<(), ShardError> {
    let store = Store::open(url)?;
    let Some(dir) = store.local_path() else { return Ok(()) };
    for entry in read_manifest(&store)?.shards.iter().skip(part).step_by(parts.max(1)) {
        digest(&dir.join(&entry.file), &store.url_of(&entry.file), entry)?;
    }
    Ok(())
}

fn check(
    store: &Store,
    entry: &ShardEntry,
    scratch: Option<&Scratch>,
    each: &(dyn Fn() + Sync),
) -> Result<(), ShardError> {
    let shown = store.url_of(&entry.file);
    let failed = |source: FormatError| ShardError::shard(&shown, source);
    match (store.local_path(), scratch) {
        (Some(dir), _) => {
            let path = dir.join(&entry.file);
            digest(&path, &shown, entry)?;
            decode(&path, &shown, entry, each)
        }
        (None, Some(scratch)) => {
            // Fetching compares size and sha256.
            let (path, _file) = scratch.cache.fetch(store, entry)?;
            let decoded = decode(&path, &shown, entry, each);
            std::fs::remove_file(&path).map_err(|e| failed(e.into()))?;
            decoded
        }
        (None, None) => Err(failed(FormatError::Io("is neither local nor fetched".into()))),
    }
}

fn digest(path: &Path, shown: &str, entry: &ShardEntry) -> Result<(), ShardError> {
    let different = |is: String, wanted: String| ShardError::shard(shown, FormatError::Manifest(is, wanted));
    // A file that cannot be read is not damaged.
    let failed = |e: std::io::Error| match e.kind() {
        ErrorKind::NotFound => StoreError::NotFound { url: shown.to_owned() },
        _ => StoreError::Failed { url: shown.to_owned(), action: "read", message: e.to_string() },
    };
    let mut file = File::open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    if bytes != entry.bytes {
        return Err(different(format!("has {bytes} bytes"), entry.bytes.to_string()));
    }
    let mut sha = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => break,
            n => sha.update(&buffer[..n]),
        }
    }
    match hex::encode(sha.finalize()) {
        sha256 if sha256 == entry.sha256 => Ok(()),
        sha256 => Err(different(format!("has sha256 {sha256}"), entry.sha256.clone())),
    }
}

fn decode(path: &Path, shown: &str, entry: &ShardEntry, each: &(dyn Fn() + Sync)) -> Result<(), ShardError> {
    let failed = |source: FormatError| ShardError::shard(shown, source);
    let file = File::open(path).map_err(|e| failed(e.into()))?;
    let shard = ShardFile::open(&file, path.to_owned(), shown)?;
    if shard.rows.len() as u64 != entry.rows {
        return Err(failed(FormatError::Manifest(format!("has {} images", shard.rows.len()), entry.rows.to_string())));
    }
    let mut reader = BlobReader::new().map_err(failed)?;
    for row in &shard.rows {
        let wrong =
            |source| ShardError::Image { file: shown.to_owned(), key: row.key.clone(), source: Box::new(source) };
        if *row.split != *entry.split {
            return Err(wrong(FormatError::Manifest(format!("is of split {}", row.split), entry.split.clone())));
        }
        shard.pixels(&file, row, &mut reader).map_err(wrong)?;
        each();
    }
    Ok(())
}

/// A folder for fetched shards, gone with this value.
struct Scratch {
    dir: PathBuf,
    cache: Cache,
}

impl Scratch {
    fn new() -> Result<Self, ShardError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("defusion-verify-{}-{n}", std::process::id()));
        Ok(Self { cache: Cache::at(dir.clone(), f64::MAX, "TMPDIR")?, dir })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be deleted now is the system's to clear.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
