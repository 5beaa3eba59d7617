//! Finding and loading checkpoints. Every byte is compared with its sha256 before it is used.

use std::collections::{BTreeMap, VecDeque};
use std::thread::Builder;

use bytes::Bytes;
use defusion_storage::{Digester, Store, StoreError};
use defusion_torch::host::byte_len;
use tch::Tensor;

use crate::error::CheckpointError;
use crate::manifest::{FileEntry, GroupEntry, LIMIT, Manifest};
use crate::names::{CHECKPOINTS, CheckpointId, MANIFEST, ShareName};
use crate::share::decode;
use crate::state::{Snapshot, deal};

/// Files of one checkpoint read at once.
const FILES_IN_FLIGHT: usize = 4;

/// The newest checkpoint that can be used, and newer ones that cannot.
#[derive(Debug)]
pub struct Found {
    /// The checkpoint.
    pub id: CheckpointId,
    /// The faults for which newer ones were passed over, newest first.
    pub damaged: Vec<CheckpointError>,
}

/// Names of all checkpoint folders, newest first, those without a manifest included. Other names are not ours.
pub(crate) fn folders(store: &Store) -> Result<Vec<CheckpointId>, CheckpointError> {
    let names = store.folder(CHECKPOINTS)?.folders()?;
    let mut ids: Vec<CheckpointId> = names.iter().filter_map(|name| name.parse().ok()).collect();
    ids.sort_by(|a, b| b.cmp(a));
    Ok(ids)
}

/// The manifest of a checkpoint as it is stored; `None` if there is none.
///
/// # Errors
/// [`CheckpointError::Damaged`] for one that is larger than any manifest; [`CheckpointError::Store`].
pub(crate) fn manifest_bytes(store: &Store, id: CheckpointId) -> Result<Option<Bytes>, CheckpointError> {
    store.find(&id.object(MANIFEST), LIMIT).map_err(|error| match error {
        StoreError::TooLarge { .. } | StoreError::Content { .. } => {
            CheckpointError::Damaged { checkpoint: id, file: MANIFEST.into(), message: error.to_string() }
        }
        error => error.into(),
    })
}

/// The manifest of a checkpoint, after comparing every file's size with the store's; `None` if there is no manifest:
/// the folder is no checkpoint (yet).
///
/// # Errors
/// [`CheckpointError::Damaged`]; [`CheckpointError::Store`].
pub(crate) fn inspect(store: &Store, id: CheckpointId) -> Result<Option<Manifest>, CheckpointError> {
    let Some(bytes) = manifest_bytes(store, id)? else { return Ok(None) };
    let manifest = Manifest::parse(id, &bytes)?;
    let sizes: BTreeMap<String, u64> = store.folder(&id.folder())?.sizes()?.into_iter().collect();
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
fn fetch(store: &Store, id: CheckpointId, file: &FileEntry) -> Result<Vec<u8>, CheckpointError> {
    let mut bytes = Vec::with_capacity(file.size as usize);
    let mut digest = Digester::default();
    let damaged = |message| CheckpointError::Damaged { checkpoint: id, file: file.name.clone(), message };
    let read = store.read_exact(&id.object(&file.name), file.size, |piece| {
        digest.update(piece);
        bytes.extend_from_slice(piece);
    });
    read.map_err(|error| match error {
        StoreError::NotFound { .. } | StoreError::Content { .. } => damaged(error.to_string()),
        error => error.into(),
    })?;
    let found = digest.finish();
    if found != file.sha256 {
        return Err(damaged(format!("its sha256 is {found}, the manifest says {}", file.sha256)));
    }
    Ok(bytes)
}

/// Loads a checkpoint, or only those of its groups that `wanted` accepts.
///
/// # Errors
/// [`CheckpointError::Damaged`], [`CheckpointError::Store`]; [`CheckpointError::Interrupted`] if no thread can be started.
pub(crate) fn load(
    store: &Store,
    id: CheckpointId,
    wanted: impl Fn(&str) -> bool,
) -> Result<(Snapshot, Manifest), CheckpointError> {
    let manifest = whole(store, id)?;
    let mut snapshot = read(store, &manifest, |_, group| wanted(group))?;
    for group in manifest.groups.keys().filter(|group| wanted(group)) {
        snapshot.groups.entry(group.clone()).or_default();
    }
    for (group, tensors) in &snapshot.groups {
        let want = manifest.groups[group];
        let have = GroupEntry {
            tensors: tensors.len() as u64,
            bytes: tensors.values().map(|t: &Tensor| byte_len(t) as u64).sum(),
        };
        if have != want {
            let message = format!("group `{group}` holds {have:?}, the manifest says {want:?}");
            return Err(CheckpointError::Damaged { checkpoint: id, file: MANIFEST.into(), message });
        }
    }
    Ok((snapshot, manifest))
}

/// Loads part `part` of `parts` of a checkpoint. The parts are whole files, of about as many bytes each; every file is in
/// one of them.
///
/// # Errors
/// Those of [`load`].
pub(crate) fn load_part(
    store: &Store,
    id: CheckpointId,
    part: usize,
    parts: usize,
) -> Result<(Snapshot, Manifest), CheckpointError> {
    let manifest = whole(store, id)?;
    let sizes: Vec<usize> = manifest.files.iter().map(|file| file.size as usize).collect();
    let owners = deal(&sizes, parts);
    Ok((read(store, &manifest, |file, _| owners[file] == part)?, manifest))
}

/// The manifest of a checkpoint that must be there.
fn whole(store: &Store, id: CheckpointId) -> Result<Manifest, CheckpointError> {
    let missing = || CheckpointError::Damaged { checkpoint: id, file: MANIFEST.into(), message: "missing".into() };
    inspect(store, id)?.ok_or_else(missing)
}

/// Reads those files of a checkpoint that `wanted` accepts by number and group.
fn read(store: &Store, manifest: &Manifest, wanted: impl Fn(usize, &str) -> bool) -> Result<Snapshot, CheckpointError> {
    let id = manifest.checkpoint;
    let damaged = |file: &str, message| CheckpointError::Damaged { checkpoint: id, file: file.to_owned(), message };
    let interrupted = |message: String| CheckpointError::Interrupted { checkpoint: id, message };
    let mut snapshot = Snapshot::new(id.stage, id.step);
    snapshot.scalars = manifest.scalars.clone();
    let files = manifest.files.iter().enumerate();
    let mut files = files
        .filter_map(|(number, file)| Some((number, file.name.parse::<ShareName>().ok()?.group, file)))
        .filter(|(number, group, _)| wanted(*number, group));
    std::thread::scope(|scope| {
        let mut under_way = VecDeque::new();
        loop {
            while under_way.len() < FILES_IN_FLIGHT
                && let Some((_, group, file)) = files.next()
            {
                let task = Builder::new().spawn_scoped(scope, move || fetch(store, id, file));
                let task = task.map_err(|e| interrupted(format!("its threads cannot be started: {e}")))?;
                under_way.push_back((group, file, task));
            }
            let Some((group, file, task)) = under_way.pop_front() else { return Ok(()) };
            let bytes = task.join().map_err(|_| interrupted("a thread that read it panicked".into()))??;
            let tensors = snapshot.groups.entry(group).or_default();
            for (name, tensor) in decode(&bytes).map_err(|e| damaged(&file.name, e.to_string()))? {
                if tensors.insert(name.clone(), tensor).is_some() {
                    return Err(damaged(&file.name, format!("tensor `{name}` stands in another share too")));
                }
            }
        }
    })?;
    Ok(snapshot)
}
