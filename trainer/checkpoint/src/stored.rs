//! The checkpoints of a run folder: finding and loading them.

use std::sync::PoisonError;

use defusion_storage::sha256_hex;

use crate::error::CheckpointError;
use crate::folder::RunFolder;
use crate::manifest::Manifest;
use crate::names::{CheckpointId, MANIFEST};
use crate::reader::{self, Found};
use crate::state::Snapshot;

impl RunFolder {
    /// All whole checkpoints, newest first: those whose manifest parses and whose files have its sizes.
    ///
    /// # Errors
    /// [`CheckpointError::Store`].
    pub fn checkpoints(&self) -> Result<Vec<CheckpointId>, CheckpointError> {
        let mut whole = Vec::new();
        for id in reader::folders(&self.store)? {
            match reader::inspect(&self.store, id) {
                Ok(Some(_)) => whole.push(id),
                Ok(None) | Err(CheckpointError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(whole)
    }

    /// The manifest of a whole checkpoint and the sha256 of its file, which tells two checkpoints apart for ever.
    ///
    /// # Errors
    /// [`CheckpointError::Damaged`] if there is none or it does not hold; [`CheckpointError::Store`].
    pub fn manifest(&self, id: CheckpointId) -> Result<(Manifest, String), CheckpointError> {
        let missing = || CheckpointError::Damaged { checkpoint: id, file: MANIFEST.into(), message: "missing".into() };
        let bytes = reader::manifest_bytes(&self.store, id)?.ok_or_else(missing)?;
        Ok((Manifest::parse(id, &bytes)?, sha256_hex(&bytes)))
    }

    /// The newest checkpoint that looks whole (its manifest parses and its files have the sizes that it says) and is none of
    /// `damaged`, to which those are added that do not. Their bytes are not compared yet: [`RunFolder::load_part`] does, and
    /// who finds a fault there adds it to `damaged` and asks again. `None` if the folder has no checkpoint.
    ///
    /// # Errors
    /// [`CheckpointError::NoneUsable`] if all are damaged; [`CheckpointError::Store`].
    pub fn newest_whole(
        &self,
        damaged: &mut Vec<(CheckpointId, String)>,
    ) -> Result<Option<CheckpointId>, CheckpointError> {
        for id in reader::folders(&self.store)? {
            if damaged.iter().any(|(other, _)| *other == id) {
                continue;
            }
            match reader::inspect(&self.store, id) {
                Ok(Some(_)) => return Ok(Some(id)),
                Ok(None) => {}
                Err(error @ CheckpointError::Damaged { .. }) => damaged.push((id, error.to_string())),
                Err(error) => return Err(error),
            }
        }
        match damaged.first() {
            None => Ok(None),
            Some((_, newest)) => Err(CheckpointError::NoneUsable {
                folder: self.url().to_owned(),
                count: damaged.len(),
                newest: newest.clone(),
            }),
        }
    }

    /// Leaves a checkpoint to retention as damaged: it does not count among those that are kept.
    pub fn note_damaged(&self, id: CheckpointId) {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    }

    /// Loads part `part` of `parts` of a checkpoint, every byte verified, onto the CPU: whole files, about as many bytes in
    /// each part. So ranks read a checkpoint once among them all.
    ///
    /// # Errors
    /// [`CheckpointError::Damaged`] naming the file; [`CheckpointError::OtherConfig`]; [`CheckpointError::Store`].
    pub fn load_part(&self, id: CheckpointId, part: usize, parts: usize) -> Result<Snapshot, CheckpointError> {
        let (snapshot, manifest) = reader::load_part(&self.store, id, part, parts)?;
        self.check_digest(&manifest)?;
        Ok(snapshot)
    }

    /// Loads the newest checkpoint whose every byte is right, read once. `None` if the folder has no checkpoint.
    ///
    /// # Errors
    /// [`CheckpointError::NoneUsable`]; [`CheckpointError::OtherConfig`] for a checkpoint of another run; [`CheckpointError::Store`],
    /// which never make an older checkpoint be used.
    pub fn load_latest(&self) -> Result<Option<(Found, Snapshot)>, CheckpointError> {
        let mut damaged: Vec<CheckpointError> = Vec::new();
        for id in reader::folders(&self.store)? {
            let result = match reader::inspect(&self.store, id) {
                // No manifest: it was never finished.
                Ok(None) => continue,
                Ok(Some(_)) => reader::load(&self.store, id, |_| true),
                Err(error) => Err(error),
            };
            match result {
                Ok((snapshot, manifest)) => {
                    self.check_digest(&manifest)?;
                    return Ok(Some((Found { id, damaged }, snapshot)));
                }
                Err(error @ CheckpointError::Damaged { .. }) => {
                    tracing::warn!("{error}; trying the one before");
                    self.note_damaged(id);
                    damaged.push(error);
                }
                Err(error) => return Err(error),
            }
        }
        match damaged.first() {
            None => Ok(None),
            Some(newest) => Err(CheckpointError::NoneUsable {
                folder: self.url().to_owned(),
                count: damaged.len(),
                newest: newest.to_string(),
            }),
        }
    }

    /// Loads one checkpoint, every byte verified, onto the CPU. It may have been written by any number of ranks.
    ///
    /// # Errors
    /// [`CheckpointError::Damaged`] naming the file; [`CheckpointError::Store`].
    pub fn load(&self, id: CheckpointId) -> Result<Snapshot, CheckpointError> {
        self.load_checked(id, |_| true)
    }

    /// Loads only the groups named of a checkpoint, as evaluation and export need them.
    ///
    /// # Errors
    /// Those of [`RunFolder::load`]; [`CheckpointError::State`] for a group that the checkpoint does not have.
    pub fn load_groups(&self, id: CheckpointId, groups: &[&str]) -> Result<Snapshot, CheckpointError> {
        let snapshot = self.load_checked(id, |group| groups.contains(&group))?;
        match groups.iter().find(|group| !snapshot.groups.contains_key(**group)) {
            None => Ok(snapshot),
            Some(group) => Err(CheckpointError::State {
                group: (*group).to_owned(),
                message: format!("checkpoint {id} has no such group"),
            }),
        }
    }

    fn load_checked(&self, id: CheckpointId, wanted: impl Fn(&str) -> bool) -> Result<Snapshot, CheckpointError> {
        let (snapshot, manifest) = reader::load(&self.store, id, wanted)?;
        self.check_digest(&manifest)?;
        Ok(snapshot)
    }

    /// Refuses a checkpoint of another run, once [`RunFolder::enter`] has said which run this is.
    fn check_digest(&self, manifest: &Manifest) -> Result<(), CheckpointError> {
        match self.digest.get() {
            Some(ours) if *ours != manifest.config_digest => Err(CheckpointError::OtherConfig {
                folder: self.store.url_of(&manifest.checkpoint.folder()),
                theirs: manifest.config_digest.clone(),
                ours: ours.clone(),
            }),
            _ => Ok(()),
        }
    }
}
