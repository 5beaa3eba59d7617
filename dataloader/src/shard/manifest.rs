//! `manifest.json`: what a finished dataset consists of.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{ShardError, VERSION};
use crate::store::{Store, StoreError};

/// Name of the manifest in the dataset's folder.
pub const MANIFEST: &str = "manifest.json";
const FORMAT: &str = "defusion-shards";
/// No manifest is larger: about 300,000 shards.
const MAX_BYTES: u64 = 64 << 20;

/// What a prepared dataset consists of. Written last: a folder with a manifest is finished.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
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
    /// Picture pairs.
    pub rows: u64,
    /// Size of the file.
    pub bytes: u64,
    /// sha256 of the file, hex.
    pub sha256: String,
}

impl Manifest {
    /// Of a dataset with these shards.
    pub fn new(dataset: &str, shards: Vec<ShardEntry>) -> Self {
        Self { format: FORMAT.into(), version: VERSION, dataset: dataset.into(), shards }
    }

    /// Reads and checks the manifest of a dataset's folder.
    ///
    /// # Errors
    /// [`ShardError::NotPrepared`], [`ShardError::Manifest`], [`ShardError::Store`].
    pub fn read(store: &Store) -> Result<Self, ShardError> {
        let bytes = store.get(MANIFEST, MAX_BYTES).map_err(|e| match e {
            StoreError::NotFound { .. } => ShardError::NotPrepared { url: store.url().into() },
            other => other.into(),
        })?;
        Self::parse(&bytes).map_err(|message| ShardError::Manifest { url: store.url_of(MANIFEST), message })
    }

    /// From JSON, checked: file names stay in the folder and occur once, digests are digests, sums do not overflow.
    ///
    /// # Errors
    /// What is wrong.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(json).map_err(|e| format!("is no manifest: {e}"))?;
        if manifest.format != FORMAT {
            return Err(format!("has format `{}`, not `{FORMAT}`", manifest.format.escape_debug()));
        }
        if manifest.version != VERSION {
            return Err(format!("has version {}; this program reads version {VERSION}", manifest.version));
        }
        let mut names = BTreeSet::new();
        let (mut rows, mut bytes) = (0u64, 0u64);
        for shard in &manifest.shards {
            let name = shard.file.escape_debug();
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
            if shard.file.is_empty() || shard.file.starts_with('.') || !shard.file.bytes().all(plain) {
                return Err(format!("shard `{name}` is no plain file name"));
            }
            if !names.insert(&shard.file) {
                return Err(format!("shard `{name}` is listed twice"));
            }
            let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            if shard.sha256.len() != 64 || !shard.sha256.bytes().all(hex) {
                return Err(format!("the sha256 of shard `{name}` is none"));
            }
            // A row takes more than a byte.
            if shard.rows > shard.bytes || shard.rows > u64::from(u32::MAX) {
                return Err(format!("shard `{name}` claims {} rows in {} bytes", shard.rows, shard.bytes));
            }
            rows = rows.checked_add(shard.rows).ok_or("its rows overflow")?;
            bytes = bytes.checked_add(shard.bytes).ok_or("its bytes overflow")?;
        }
        Ok(manifest)
    }

    /// As JSON, for people too.
    pub fn to_json(&self) -> Vec<u8> {
        // Strings and integers only: writing them as JSON cannot fail.
        let mut json = serde_json::to_vec_pretty(self).unwrap_or_default();
        json.push(b'\n');
        json
    }

    /// Pairs in all shards.
    pub fn rows(&self) -> u64 {
        self.shards.iter().map(|s| s.rows).sum()
    }

    /// Bytes of all shards.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(|s| s.bytes).sum()
    }

    /// Names of the splits, in their order.
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
