//! What fuzzers do with the readers of manifests and shards. Shared with `dataloader/fuzz`.

use std::path::Path;

use defusion_config::RemoteCache;
use defusion_dataloader::shard::{DatasetReader, MANIFEST, ShardError};
use defusion_datasets::{ShardEntry, ShardManifest};

/// Images up to this many pixels are read whole.
const WHOLE: usize = 1 << 20;

/// Whatever the bytes are, they are refused, or what they say is sound.
pub fn manifest(bytes: &[u8]) {
    let Ok(manifest) = ShardManifest::parse(bytes) else { return };
    for shard in &manifest.shards {
        assert!(!shard.file.contains(['/', '\\']) && !shard.file.starts_with('.'), "{}", shard.file);
        assert!(shard.rows <= shard.bytes);
    }
    assert_eq!(ShardManifest::parse(&manifest.to_json()).as_ref(), Ok(&manifest));
}

/// Reads all of a dataset whose only shard is these bytes, and of which the manifest claims `rows` images. `dir` is an
/// empty folder, or one that this was called with before.
///
/// # Errors
/// The first; it names the shard.
pub fn shard(dir: &Path, bytes: &[u8], rows: u64) -> Result<(), ShardError> {
    const FILE: &str = "part-00000.parquet";
    let (size, sha256) = (bytes.len() as u64, "0".repeat(64));
    let entry = ShardEntry { file: FILE.into(), split: "train".into(), rows, bytes: size, sha256 };
    std::fs::write(dir.join(FILE), bytes).expect("the shard is written");
    std::fs::write(dir.join(MANIFEST), ShardManifest::new("set", vec![entry]).to_json())
        .expect("the manifest is written");
    let read = read_all(&dir.display().to_string());
    if let Err(e) = &read {
        let text = e.to_string();
        assert!(text.contains(FILE) || text.contains(MANIFEST), "{text}");
    }
    read
}

fn read_all(url: &str) -> Result<(), ShardError> {
    let reader = DatasetReader::open(url, &RemoteCache::default())?;
    for i in 0..reader.len() {
        let record = reader.record(i)?;
        reader.crop(i, record.width - 1, record.height - 1, 1, 1)?;
        reader.crop_hq(i, record.width / 2, record.height / 2, 1, 1)?;
        if record.width * record.height <= WHOLE {
            reader.full(i)?;
            reader.pixels(i)?;
        }
    }
    Ok(())
}
