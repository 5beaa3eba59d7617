//! Finding and loading checkpoints. Every byte is compared with its sha256 before it is used.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use sha2::{Digest, Sha256};
use tch::Tensor;

use super::host::{byte_len, decode};
use super::manifest::{FileEntry, GroupEntry, LIMIT};
use super::names::{CHECKPOINTS, MANIFEST, ShareName};
use super::store::hex;
use super::{CheckpointError, CheckpointId, Manifest, Snapshot, Store, StoreErrorKind};

/// Files of one checkpoint read at once.
const FILES_IN_FLIGHT: usize = 4;

/// The newest checkpoint that can be used, and newer ones that cannot.
#[derive(Debug)]
pub struct Found {
    /// The checkpoint.
    pub id: CheckpointId,
    /// Why newer ones were passed over, newest first.
    pub damaged: Vec<CheckpointError>,
}

/// Names of all checkpoint folders, newest first, those without a manifest included. Other names are not ours.
pub(super) async fn folders(store: &Store) -> Result<Vec<CheckpointId>, CheckpointError> {
    let names = store.list_folders(CHECKPOINTS).await?;
    let mut ids: Vec<CheckpointId> = names.iter().filter_map(|name| name.parse().ok()).collect();
    ids.sort_by(|a, b| b.cmp(a));
    Ok(ids)
}

/// The manifest of a checkpoint, after comparing every file's size with the store's; `None` where there is no manifest:
/// the folder is no checkpoint (yet).
///
/// # Errors
/// [`CheckpointError::Damaged`]; the store's.
pub(super) async fn inspect(store: &Store, id: CheckpointId) -> Result<Option<Manifest>, CheckpointError> {
    let bytes = match store.get_small(&id.object(MANIFEST), LIMIT).await {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(None),
        Err(error) if error.kind == StoreErrorKind::Content => {
            return Err(CheckpointError::Damaged { checkpoint: id, file: MANIFEST.into(), message: error.message });
        }
        Err(error) => return Err(error.into()),
    };
    let manifest = Manifest::parse(id, &bytes)?;
    let sizes: BTreeMap<String, u64> = store.list(&id.folder()).await?.into_iter().collect();
    for FileEntry { name, size, .. } in &manifest.files {
        let message = match sizes.get(name) {
            Some(actual) if actual == size => continue,
            Some(actual) => format!("{actual} bytes, the manifest says {size}"),
            None => "missing".into(),
        };
        return Err(CheckpointError::Damaged { checkpoint: id, file: name.clone(), message });
    }
    Ok(Some(manifest))
}

/// One file's bytes, checked. `inspect` has compared its size, so the allocation is one that the store can fill.
async fn fetch(store: Store, id: CheckpointId, file: FileEntry) -> Result<(FileEntry, Vec<u8>), CheckpointError> {
    let mut bytes = Vec::with_capacity(file.size as usize);
    let mut hash = Sha256::new();
    let object = id.object(&file.name);
    let read = store.read_pieces(&object, file.size, |piece| {
        hash.update(piece);
        bytes.extend_from_slice(piece);
    });
    let damaged = |message| CheckpointError::Damaged { checkpoint: id, file: file.name.clone(), message };
    read.await.map_err(|error| match error.kind {
        StoreErrorKind::NotFound | StoreErrorKind::Content => damaged(error.message),
        _ => error.into(),
    })?;
    let found = hex(&hash.finalize());
    if found != file.sha256 {
        return Err(damaged(format!("its sha256 is {found}, the manifest says {}", file.sha256)));
    }
    Ok((file, bytes))
}

/// Loads a checkpoint, or only those of its groups that `wanted` accepts.
///
/// # Errors
/// [`CheckpointError::Damaged`]; the store's.
pub(super) async fn load(
    store: &Store,
    id: CheckpointId,
    wanted: impl Fn(&str) -> bool,
) -> Result<(Snapshot, Manifest), CheckpointError> {
    let damaged = |file: &str, message| CheckpointError::Damaged { checkpoint: id, file: file.to_owned(), message };
    let manifest = inspect(store, id).await?.ok_or_else(|| damaged(MANIFEST, "missing".into()))?;
    let mut snapshot = Snapshot::new(id.stage, id.step);
    snapshot.scalars = manifest.scalars.clone();
    snapshot.groups = manifest.groups.keys().filter(|g| wanted(g)).map(|g| (g.clone(), BTreeMap::new())).collect();

    let files: Vec<(ShareName, FileEntry)> = manifest
        .files
        .iter()
        .filter_map(|file| Some((file.name.parse::<ShareName>().ok()?, file.clone())))
        .filter(|(share, _)| wanted(&share.group))
        .collect();
    let mut fetched = stream::iter(files)
        .map(|(share, file)| {
            let task = tokio::spawn(fetch(store.clone(), id, file));
            async move { (share, task.await) }
        })
        .buffered(FILES_IN_FLIGHT);
    while let Some((share, result)) = fetched.next().await {
        let (file, bytes) =
            result.map_err(|e| CheckpointError::Interrupted { checkpoint: id, message: e.to_string() })??;
        let group = snapshot.groups.entry(share.group.clone()).or_default();
        for (name, tensor) in decode(&bytes).map_err(|message| damaged(&file.name, message))? {
            if group.insert(name.clone(), tensor).is_some() {
                return Err(damaged(&file.name, format!("tensor `{name}` stands in another share too")));
            }
        }
    }
    for (group, tensors) in &snapshot.groups {
        let want = manifest.groups[group];
        let have = GroupEntry {
            tensors: tensors.len() as u64,
            bytes: tensors.values().map(|t: &Tensor| byte_len(t) as u64).sum(),
        };
        if have != want {
            let message = format!("group `{group}` holds {have:?}, the manifest says {want:?}");
            return Err(damaged(MANIFEST, message));
        }
    }
    Ok((snapshot, manifest))
}

/// Reads a checkpoint and compares every hash, keeping nothing.
///
/// # Errors
/// [`CheckpointError::Damaged`]; the store's.
pub(super) async fn verify(store: &Store, id: CheckpointId) -> Result<Manifest, CheckpointError> {
    let damaged = |file: &str, message| CheckpointError::Damaged { checkpoint: id, file: file.to_owned(), message };
    let manifest = inspect(store, id).await?.ok_or_else(|| damaged(MANIFEST, "missing".into()))?;
    for file in &manifest.files {
        let found = store.sha256(&id.object(&file.name), file.size).await?;
        if found != file.sha256 {
            return Err(damaged(&file.name, format!("its sha256 is {found}, the manifest says {}", file.sha256)));
        }
    }
    Ok(manifest)
}
