//! Reading a prepared dataset's manifest from a store.

use defusion_datasets::ShardManifest;
use defusion_datasets::shard_manifest::{MANIFEST, MAX_BYTES};
use defusion_storage::{Store, StoreError};

use super::ShardError;

/// Reads and checks the manifest of a dataset's folder.
///
/// # Errors
/// [`ShardError::NotPrepared`] if there is none, [`ShardError::Manifest`], [`ShardError::Store`].
pub fn read_manifest(store: &Store) -> Result<ShardManifest, ShardError> {
    let bytes = store.get(MANIFEST, MAX_BYTES).map_err(|e| match e {
        StoreError::NotFound { .. } => ShardError::NotPrepared { url: store.url().into() },
        other => other.into(),
    })?;
    ShardManifest::parse(&bytes).map_err(|source| ShardError::Manifest { url: store.url_of(MANIFEST), source })
}
