//! What strangers may hand in: damaged manifests and shards, and datasets that change under a reader.

use std::path::{Path, PathBuf};

use defusion_config::{Degradation, RemoteCache};
use defusion_dataloader::prepare::{PrepareOptions, list_source, prepare};
use defusion_dataloader::shard::{DatasetReader, MANIFEST, ShardError};
use defusion_dataloader::verify::{digests, verify};

use crate::shards::save;

/// A small paired dataset of two shards, below `to`.
pub(crate) fn dataset(dir: &Path, to: &str) -> String {
    for i in 0..4u64 {
        save(&dir.join(format!("from/input/{i}.png")), i, 40, 30);
        save(&dir.join(format!("from/target/{i}.png")), 9 + i, 40, 30);
    }
    let descriptor = defusion_datasets::find("pairs").unwrap();
    let listing = list_source(&descriptor, &dir.join("from"), None, &[Degradation::Rain]).unwrap();
    let options = PrepareOptions { shard_bytes: 2 * 2 * 3 * 40 * 30, tile: 16, ..PrepareOptions::new("set", to) };
    assert_eq!(prepare(listing, &options, &|_| ()).unwrap().splits["train"].shards, 2);
    format!("{to}/set")
}

pub(crate) fn local() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let url = dataset(dir.path(), &dir.path().join("shards").display().to_string());
    (dir, PathBuf::from(url))
}

/// Opens the dataset and reads all of it.
fn read_all(url: &str) -> Result<(), ShardError> {
    let reader = DatasetReader::open(url, &RemoteCache::default())?;
    for i in 0..reader.len() {
        let record = reader.record(i)?;
        reader.full(i)?;
        reader.crop(i, record.width / 2, record.height / 2, 1, 1)?;
    }
    Ok(())
}

fn with_manifest(dir: &Path, change: impl FnOnce(&str) -> String) -> String {
    let path = dir.join(MANIFEST);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, change(&text)).unwrap();
    let error = read_all(&dir.display().to_string()).unwrap_err().to_string();
    std::fs::write(&path, text).unwrap();
    error
}

#[test]
fn manifests_that_lie_are_refused() {
    let (_dir, set) = local();
    let shown = set.display().to_string();
    for (from, to, words) in [
        ("part-00000.parquet", "../part-00000.parquet", "is no plain file name"),
        ("part-00000.parquet", "/etc/passwd", "is no plain file name"),
        ("part-00000.parquet", "..", "is no plain file name"),
        ("part-00000.parquet", "part-00001.parquet", "listed twice"),
        ("\"rows\": 2", "\"rows\": 3", "has 2 images, but the manifest says 3"),
        ("\"rows\": 2", "\"rows\": 18446744073709551615", "claims 18446744073709551615 rows"),
        ("\"version\": 1", "\"version\": 2", "this program reads version 1"),
        ("defusion-shards", "other", "has format `other`"),
        ("\"sha256\": \"", "\"sha256\": \"x", "sha256"),
        ("{", "", "is no manifest"),
    ] {
        let error = with_manifest(&set, |text| text.replacen(from, to, 1));
        assert!(error.contains(words) && error.contains(&shown), "{words}: {error}");
    }
    assert!(with_manifest(&set, |_| String::new()).contains(MANIFEST));
    let error = with_manifest(&set, |text| text.replace("part-00001", "part-00007"));
    assert!(error.contains("part-00007.parquet") && error.contains("No such file"), "{error}");
    read_all(&shown).unwrap();
}

#[test]
fn damaged_shards_are_named_and_verify_finds_them() {
    let (_dir, set) = local();
    let url = set.display().to_string();
    let told = std::sync::Mutex::new(Vec::new());
    let sound = verify(&url, 2, &|done, total| told.lock().unwrap().push((done, total))).unwrap();
    assert_eq!((sound.shards, sound.rows, sound.problems.len()), (2, 4, 0));
    assert_eq!(told.into_inner().unwrap().len(), 4);
    let file = set.join("part-00001.parquet");
    let whole = std::fs::read(&file).unwrap();
    let flipped: Vec<u8> = whole.iter().enumerate().map(|(i, b)| if i == whole.len() / 3 { !b } else { *b }).collect();
    for (bytes, words) in [
        (&whole[..whole.len() / 2], "bytes, but the manifest says"),
        (&[][..], "has 0 bytes"),
        (&flipped[..], "has sha256"),
    ] {
        std::fs::write(&file, bytes).unwrap();
        let found = verify(&url, 0, &|_, _| ()).unwrap();
        assert_eq!((found.shards, found.problems.len()), (1, 1));
        let text = found.to_string();
        assert!(text.contains("part-00001.parquet") && text.contains(words), "{text}");
        // The workers of a host divide the shards: one of two finds it.
        digests(&url, 0, 2).unwrap();
        for alone in [digests(&url, 1, 2), digests(&url, 0, 1)] {
            let text = alone.unwrap_err().to_string();
            assert!(text.contains("part-00001.parquet") && text.contains(words), "{text}");
        }
    }
    // A zero byte in the pixels: the digest of the manifest is made to fit, so only the tile can tell, if anything.
    std::fs::write(&file, b"PAR1 no parquet PAR1").unwrap();
    let error = with_manifest(&set, |text| text.replace(&format!("\"bytes\": {}", whole.len()), "\"bytes\": 20"));
    assert!(error.contains("part-00001.parquet"), "{error}");
}

#[test]
fn a_shard_that_vanishes_in_the_middle_is_named() {
    let (_dir, set) = local();
    let reader = DatasetReader::open(&set.display().to_string(), &RemoteCache::default()).unwrap();
    reader.full(0).unwrap();
    std::fs::remove_file(set.join("part-00000.parquet")).unwrap();
    let error = reader.full(0).unwrap_err().to_string();
    assert!(error.contains("part-00000.parquet") && error.contains("No such file"), "{error}");
    reader.full(2).unwrap();
}

#[test]
fn remote_shards_are_verified_evicted_and_fetched_once() {
    let dir = tempfile::tempdir().unwrap();
    let url = dataset(dir.path(), "memory://hostile-remote");
    assert_eq!(verify(&url, 1, &|_, _| ()).unwrap().shards, 2);
    let cache = dir.path().join("cache");
    let config = |max_gib: f64| RemoteCache { dir: Some(cache.display().to_string()), max_gib };
    let held = || {
        let files = std::fs::read_dir(&cache).unwrap().flatten().map(|e| e.path());
        files.filter(|p| p.extension().is_some_and(|e| e == "parquet")).collect::<Vec<_>>()
    };
    let reader = DatasetReader::open(&url, &config(1.0)).unwrap();
    // Many threads and readers at once: each shard is fetched once and is whole.
    let other = DatasetReader::open(&url, &config(1.0)).unwrap();
    std::thread::scope(|scope| {
        for n in 0..8usize {
            let reader = if n % 2 == 0 { &reader } else { &other };
            scope.spawn(move || reader.full(n % 4).unwrap());
        }
    });
    assert_eq!(held().len(), 2);
    // Evicted by others: fetched again.
    for file in held() {
        std::fs::remove_file(file).unwrap();
    }
    reader.full(0).unwrap();
    assert_eq!(held().len(), 1);
    // Room for one shard only, and a part left by a process that died.
    let one = std::fs::metadata(&held()[0]).unwrap().len() as f64 * 1.5 / (1u64 << 30) as f64;
    std::fs::write(cache.join("00.part"), vec![0; 1 << 20]).unwrap();
    let small = DatasetReader::open(&url, &config(one)).unwrap();
    for i in [3, 0, 3, 0] {
        small.full(i).unwrap();
        assert_eq!(held().len(), 1);
    }
    assert!(!cache.join("00.part").exists());
    let none = DatasetReader::open(&url, &config(1e-9)).unwrap();
    for file in held() {
        std::fs::remove_file(file).unwrap();
    }
    let error = none.full(0).unwrap_err().to_string();
    assert!(error.contains("more than the whole cache") && error.contains("data.cache.max_gib"), "{error}");
    // A shard that is not what the manifest says never gets into the cache.
    let store = defusion_storage::Store::open(&url).unwrap();
    let shard = store.get("part-00000.parquet", 1 << 30).unwrap();
    let mut bad = shard.to_vec();
    bad[100] ^= 1;
    store.put("part-00000.parquet", bad.into()).unwrap();
    let error = reader_error(&url, &config(1.0));
    assert!(error.contains("hostile-remote/set/part-00000.parquet: has sha256"), "{error}");
    store.put("part-00000.parquet", shard.slice(..100)).unwrap();
    let error = reader_error(&url, &config(1.0));
    assert!(error.contains("part-00000.parquet"), "{error}");
    assert_eq!(held().len(), 0);
}

fn reader_error(url: &str, cache: &RemoteCache) -> String {
    DatasetReader::open(url, cache).unwrap().full(0).unwrap_err().to_string()
}
