//! Deleting objects and folders.

use object_store::ObjectStoreExt;

use crate::{Store, StoreError, local};

impl Store {
    /// Deletes the object; it is no error if there is none.
    ///
    /// # Errors
    /// [`StoreError::Failed`] or [`StoreError::Denied`] from the store.
    pub fn delete(&self, name: &str) -> Result<(), StoreError> {
        match self.call(name, "delete", |inner, path| async move { inner.delete(&path).await }) {
            Err(StoreError::NotFound { .. }) => return Ok(()),
            done => done?,
        }
        match &self.local {
            Some(path) => local::sync_entry(&path.join(name))
                .map_err(|e| self.failed(name, "put the deletion on disk", e.to_string())),
            None => Ok(()),
        }
    }

    /// Deletes the folder with all that is in it, half-written uploads on local disk included.
    ///
    /// # Errors
    /// [`StoreError::Failed`] or [`StoreError::Denied`] from the store.
    pub fn delete_all(&self) -> Result<(), StoreError> {
        if let Some(path) = &self.local {
            return local::delete_folder(path).map_err(|e| self.failed("", "delete", e.to_string()));
        }
        self.sizes()?.iter().try_for_each(|(name, _)| self.delete(name))
    }
}
