//! Reading objects.

use std::ops::Range;

use bytes::Bytes;
use object_store::{GetResult, ObjectMeta, ObjectStoreExt};

use crate::{Store, StoreError};

/// Objects of more bytes are read in pieces, so that a request stays within the client's time limit on a slow link.
const WHOLE: u64 = 32 << 20;

impl Store {
    /// Returns the whole object.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], before its content is read, for an object of more than `limit` bytes;
    /// [`StoreError::NotFound`]; [`StoreError::Failed`] or [`StoreError::Denied`] from the store.
    pub fn get(&self, name: &str, limit: u64) -> Result<Bytes, StoreError> {
        self.retry.run(StoreError::is_transient, || Ok(self.get_once(name, limit)?.1))
    }

    /// Returns the whole object, or `None` if it is not there.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`]; [`StoreError::Failed`] or [`StoreError::Denied`] from the store.
    pub fn find(&self, name: &str, limit: u64) -> Result<Option<Bytes>, StoreError> {
        match self.get(name, limit) {
            Err(StoreError::NotFound { .. }) => Ok(None),
            found => found.map(Some),
        }
    }

    /// One try of reading the whole object, with the answer that described it.
    pub(crate) fn get_once(&self, name: &str, limit: u64) -> Result<(ObjectMeta, Bytes), StoreError> {
        let path = self.path(name)?;
        let (inner, at) = (self.inner.clone(), path.clone());
        let answer = self.once(name, "read", async move {
            let found: GetResult = inner.get(&at).await?;
            let meta = found.meta.clone();
            // A large one is read in ranges, below.
            let whole = meta.size <= limit.min(WHOLE);
            Ok((meta, if whole { Some(found.bytes().await?) } else { None }))
        })?;
        match answer {
            (meta, Some(bytes)) => Ok((meta, bytes)),
            (meta, None) if meta.size > limit => {
                Err(StoreError::TooLarge { url: self.url_of(name), bytes: meta.size, limit })
            }
            (meta, None) => {
                let mut bytes = Vec::new();
                self.read_exact(name, meta.size, |piece| bytes.extend_from_slice(piece))?;
                let inner = self.inner.clone();
                let now = self.once(name, "read", async move { inner.head(&path).await })?;
                if (now.size, &now.e_tag) != (meta.size, &meta.e_tag) {
                    let message = "it was replaced in the meantime".into();
                    return Err(StoreError::Content { url: self.url_of(name), action: "read", message });
                }
                Ok((meta, bytes.into()))
            }
        }
    }

    /// Returns the bytes `range` of an object; fewer if the object ends within it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Failed`], also for a range that begins beyond the object's end, or
    /// [`StoreError::Denied`] from the store.
    pub fn range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.call(name, "read", move |inner, path| {
            let range = range.clone();
            async move { inner.get_range(&path, range).await }
        })
    }

    /// The object's size in bytes; `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError::Failed`] or [`StoreError::Denied`] from the store.
    pub fn size(&self, name: &str) -> Result<Option<u64>, StoreError> {
        match self.call(name, "read", |inner, path| async move { inner.head(&path).await }) {
            Ok(meta) => Ok(Some(meta.size)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }
}
