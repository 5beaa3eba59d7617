//! Writes that only happen if nobody else was faster. They are tried once: after an answer that was lost on its way, a
//! second try could not tell this writer's object from another's.

use bytes::Bytes;
use object_store::{PutMode, PutOptions, UpdateVersion};

use crate::{Store, StoreError};

/// A mark of the content that was read of an object, for [`Store::put_if`] to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    tag: Option<String>,
    number: Option<String>,
}

impl Store {
    /// Creates an object; exactly one of several that race wins, on stores with conditional writes (local disk, S3,
    /// Google Cloud Storage, Azure, memory).
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`]; [`StoreError::Failed`], [`StoreError::Denied`] or [`StoreError::Unsupported`] from the
    /// store.
    pub fn put_new(&self, name: &str, bytes: Bytes) -> Result<(), StoreError> {
        match self.put_mode(name, bytes.clone(), PutMode::Create, "create") {
            Err(StoreError::Changed { url }) => Err(StoreError::AlreadyExists { url }),
            // Some mounted file systems have no hard links, which the conditional write needs.
            Err(StoreError::Failed { url, .. }) if self.local.is_some() => match self.size(name)? {
                Some(_) => Err(StoreError::AlreadyExists { url }),
                None => self.put(name, bytes),
            },
            done => done,
        }
    }

    /// Returns the whole object, as [`Store::get`] does, and the version that [`Store::put_if`] needs.
    ///
    /// # Errors
    /// Those of [`Store::get`].
    pub fn get_version(&self, name: &str, limit: u64) -> Result<(Bytes, Version), StoreError> {
        let (meta, bytes) = self.retry.run(StoreError::is_transient, || self.get_once(name, limit))?;
        Ok((bytes, Version { tag: meta.e_tag, number: meta.version }))
    }

    /// Replaces an object that is still what was read; of several that race, exactly one wins.
    ///
    /// # Errors
    /// [`StoreError::Changed`] if it was changed or deleted; [`StoreError::Unsupported`] on local disk;
    /// [`StoreError::Failed`] or [`StoreError::Denied`] from the store.
    pub fn put_if(&self, name: &str, bytes: Bytes, read: &Version) -> Result<(), StoreError> {
        let update = UpdateVersion { e_tag: read.tag.clone(), version: read.number.clone() };
        match self.put_mode(name, bytes, PutMode::Update(update), "replace") {
            Err(StoreError::NotFound { url } | StoreError::AlreadyExists { url }) => Err(StoreError::Changed { url }),
            done => done,
        }
    }

    fn put_mode(&self, name: &str, bytes: Bytes, mode: PutMode, action: &'static str) -> Result<(), StoreError> {
        let (inner, path) = (self.inner.clone(), self.path(name)?);
        let options = PutOptions { mode, ..PutOptions::default() };
        self.once(name, action, async move { inner.put_opts(&path, bytes.into(), options).await.map(drop) })
    }
}
