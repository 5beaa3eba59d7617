//! Telling whether a dataset is still the one that a run has been trained on.

use defusion_storage::Store;
use sha2::{Digest, Sha256};

use crate::loader::SPLIT;
use crate::shard::{ShardError, read_manifest};

/// What training reads of a prepared dataset, in a few words that change if it is prepared anew with other images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// sha256, in hex, over names, rows, sizes and sha256 of the shards of the split that training reads, in their order.
    pub sha256: String,
    /// Number of those shards.
    pub shards: u64,
    /// Number of images in them.
    pub images: u64,
}

/// Takes the fingerprint of the dataset in the folder `url`, from its manifest alone.
///
/// # Errors
/// [`ShardError::NotPrepared`], [`ShardError::Manifest`], [`ShardError::Store`].
pub fn fingerprint(url: &str) -> Result<Fingerprint, ShardError> {
    let manifest = read_manifest(&Store::open(url)?)?;
    let mut digest = Sha256::new();
    let (mut shards, mut images) = (0, 0);
    for shard in manifest.shards.iter().filter(|shard| shard.split == SPLIT) {
        digest.update(format!("{} {} {} {}\n", shard.file, shard.rows, shard.bytes, shard.sha256));
        shards += 1;
        images += shard.rows;
    }
    Ok(Fingerprint { sha256: hex::encode(digest.finalize()), shards, images })
}
