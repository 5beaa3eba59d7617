//! `manifest.json`: what a prepared dataset consists of.
//!
//! Preparation writes it last, so a folder that has one is finished. The loader opens the shards it names; the launcher
//! counts their rows for its plan.

use std::collections::BTreeSet;

use defusion_config::protocol::EXIT_USAGE;
use serde::{Deserialize, Serialize};

/// Name of the manifest in the dataset's folder.
pub const MANIFEST: &str = "manifest.json";
/// Version of the shards' layout; readers refuse any other.
pub const VERSION: u32 = 1;
/// Largest manifest that is read, bytes: about 300,000 shards.
pub const MAX_BYTES: u64 = 64 << 20;
const FORMAT: &str = "defusion-shards";

/// What a prepared dataset consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardManifest {
    /// `defusion-shards`.
    format: String,
    /// [`VERSION`].
    version: u32,
    /// Name of the dataset.
    pub dataset: String,
    /// The shards; rows are counted through them in this order.
    pub shards: Vec<ShardEntry>,
}

/// One shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardEntry {
    /// File name in the dataset's folder.
    pub file: String,
    /// The split that all its rows belong to.
    pub split: String,
    /// Number of image pairs.
    pub rows: u64,
    /// Size of the file, bytes.
    pub bytes: u64,
    /// sha256 of the file, 64 lower-case hex digits.
    pub sha256: String,
}

/// A manifest that cannot be used. The text goes on from the manifest's place: `PLACE: has version 7; ...`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShardManifestError {
    /// It is not JSON of the manifest's shape. Holds the parser's words.
    #[error("is no manifest: {0}")]
    Json(String),
    /// It is a manifest of something else. Holds its format, escaped.
    #[error("has format `{0}`, not `{FORMAT}`")]
    Format(String),
    /// Another version of this program wrote it.
    #[error("has version {found}; this program reads version {VERSION}")]
    Version {
        /// The version it has.
        found: u32,
    },
    /// A shard's name leads out of the folder, or holds characters other than `[A-Za-z0-9._-]`. Holds the name, escaped.
    #[error("shard `{0}` is no plain file name")]
    FileName(String),
    /// Two shards have the same name.
    #[error("shard `{0}` is listed twice")]
    Twice(String),
    /// A shard's digest is not 64 lower-case hex digits. Holds the shard's name.
    #[error("the sha256 of shard `{0}` is none")]
    Digest(String),
    /// A shard claims more rows than its file can hold.
    #[error("shard `{file}` claims {rows} rows in {bytes} bytes")]
    Rows {
        /// Name of the shard.
        file: String,
        /// Rows claimed.
        rows: u64,
        /// Size of its file, bytes.
        bytes: u64,
    },
    /// A sum over all shards does not fit 64 bits.
    #[error("its {0} overflow")]
    Overflow(&'static str),
}

impl ShardManifestError {
    /// Whether starting again can help: never, since the manifest's content stays what it is.
    pub fn is_transient(&self) -> bool {
        false
    }

    /// Exit code of a program that ends because of it.
    pub fn exit_code(&self) -> i32 {
        EXIT_USAGE
    }
}

impl ShardManifest {
    /// The manifest of a dataset with these shards.
    pub fn new(dataset: &str, shards: Vec<ShardEntry>) -> Self {
        Self { format: FORMAT.into(), version: VERSION, dataset: dataset.into(), shards }
    }

    /// Parses JSON and checks it: file names stay in the folder and occur once, digests are digests, sums do not overflow.
    ///
    /// # Errors
    /// [`ShardManifestError`]: the first thing found wrong.
    pub fn parse(json: &[u8]) -> Result<Self, ShardManifestError> {
        let manifest: Self = serde_json::from_slice(json).map_err(|e| ShardManifestError::Json(e.to_string()))?;
        if manifest.format != FORMAT {
            return Err(ShardManifestError::Format(manifest.format.escape_debug().to_string()));
        }
        if manifest.version != VERSION {
            return Err(ShardManifestError::Version { found: manifest.version });
        }
        let mut names = BTreeSet::new();
        let (mut rows, mut bytes) = (0u64, 0u64);
        for shard in &manifest.shards {
            shard.check()?;
            if !names.insert(&shard.file) {
                return Err(ShardManifestError::Twice(shard.shown()));
            }
            rows = rows.checked_add(shard.rows).ok_or(ShardManifestError::Overflow("rows"))?;
            bytes = bytes.checked_add(shard.bytes).ok_or(ShardManifestError::Overflow("bytes"))?;
        }
        Ok(manifest)
    }

    /// Writes it as JSON, indented for people.
    pub fn to_json(&self) -> Vec<u8> {
        // Strings and integers only: writing them as JSON cannot fail.
        let mut json = serde_json::to_vec_pretty(self).unwrap_or_default();
        json.push(b'\n');
        json
    }

    /// Number of pairs in all shards.
    pub fn rows(&self) -> u64 {
        self.shards.iter().map(|s| s.rows).sum()
    }

    /// Number of pairs of one split; 0 if there is no such split.
    pub fn rows_of(&self, split: &str) -> u64 {
        self.shards.iter().filter(|s| s.split == split).map(|s| s.rows).sum()
    }

    /// Size of all shards, bytes.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(|s| s.bytes).sum()
    }

    /// Names of the splits, each once, in the order of the shards.
    pub fn splits(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for shard in &self.shards {
            if !names.contains(&shard.split.as_str()) {
                names.push(&shard.split);
            }
        }
        names
    }
}

impl ShardEntry {
    fn check(&self) -> Result<(), ShardManifestError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if self.file.is_empty() || self.file.starts_with('.') || !self.file.bytes().all(plain) {
            return Err(ShardManifestError::FileName(self.shown()));
        }
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if self.sha256.len() != 64 || !self.sha256.bytes().all(hex) {
            return Err(ShardManifestError::Digest(self.shown()));
        }
        // A row takes more than a byte.
        if self.rows > self.bytes || self.rows > u64::from(u32::MAX) {
            return Err(ShardManifestError::Rows { file: self.shown(), rows: self.rows, bytes: self.bytes });
        }
        Ok(())
    }

    /// The name without control characters.
    fn shown(&self) -> String {
        self.file.escape_debug().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(file: &str, split: &str, rows: u64) -> ShardEntry {
        ShardEntry { file: file.into(), split: split.into(), rows, bytes: 1 << 20, sha256: "0a".repeat(32) }
    }

    fn manifest() -> ShardManifest {
        let (a, b, c) = (entry("a.parquet", "train", 3), entry("b.parquet", "test", 5), entry("c.parquet", "train", 7));
        ShardManifest::new("set", vec![a, b, c])
    }

    #[test]
    fn what_is_written_is_read() {
        let manifest = manifest();
        assert_eq!(ShardManifest::parse(&manifest.to_json()).as_ref(), Ok(&manifest));
        assert_eq!((manifest.rows(), manifest.rows_of("train"), manifest.rows_of("val")), (15, 10, 0));
        assert_eq!((manifest.bytes(), manifest.splits()), (3 << 20, vec!["train", "test"]));
    }

    #[test]
    fn the_bytes_on_disk_are_these() {
        let manifest = ShardManifest::new("set", vec![entry("a", "train", 3)]);
        let text = format!(
            "{{\n  \"format\": \"defusion-shards\",\n  \"version\": 1,\n  \"dataset\": \"set\",\n  \"shards\": [\n    {{\n      \
             \"file\": \"a\",\n      \"split\": \"train\",\n      \"rows\": 3,\n      \"bytes\": 1048576,\n      \
             \"sha256\": \"{}\"\n    }}\n  ]\n}}\n",
            "0a".repeat(32)
        );
        assert_eq!(String::from_utf8(manifest.to_json()).as_deref(), Ok(text.as_str()));
    }

    /// What is said of the manifest after one change.
    fn refused(change: impl FnOnce(&mut ShardManifest)) -> String {
        let mut manifest = manifest();
        change(&mut manifest);
        ShardManifest::parse(&manifest.to_json()).expect_err("a refusal").to_string()
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        assert_eq!(refused(|m| m.format = "x\n".into()), "has format `x\\n`, not `defusion-shards`");
        assert_eq!(refused(|m| m.version = 2), "has version 2; this program reads version 1");
        for name in ["", "../a", ".a", "a/b", "a\n", "a b"] {
            let error = format!("shard `{}` is no plain file name", name.escape_debug());
            assert_eq!(refused(|m| m.shards[1].file = name.into()), error);
        }
        assert_eq!(refused(|m| m.shards[1].file = "a.parquet".into()), "shard `a.parquet` is listed twice");
        for digest in ["", "0", &"0A".repeat(32), &"0g".repeat(32)] {
            assert_eq!(refused(|m| m.shards[0].sha256 = digest.into()), "the sha256 of shard `a.parquet` is none");
        }
        let many = refused(|m| m.shards[2].rows = (1 << 20) + 1);
        assert_eq!(many, "shard `c.parquet` claims 1048577 rows in 1048576 bytes");
        assert_eq!(refused(|m| m.shards.iter_mut().for_each(|s| s.bytes = u64::MAX)), "its bytes overflow");
        let error = ShardManifest::parse(b"[]").expect_err("a refusal");
        assert!(error.to_string().starts_with("is no manifest: "), "{error}");
        assert!(!error.is_transient() && error.exit_code() == EXIT_USAGE);
    }
}
