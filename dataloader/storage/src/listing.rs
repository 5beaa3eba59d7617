//! What is in a folder.

use futures::TryStreamExt;
use object_store::ListResult;
use object_store::path::Path;

use crate::{Store, StoreError};

impl Store {
    /// Names of all objects right in the folder, sorted, however many pages they take. None if there is no such folder.
    ///
    /// # Errors
    /// [`StoreError::Failed`] or [`StoreError::Denied`] from the store.
    pub fn list(&self) -> Result<Vec<String>, StoreError> {
        let found = self.right_below()?;
        Ok(sorted(found.objects.iter().filter_map(|o| o.location.filename())))
    }

    /// Names of all folders right in the folder, sorted. Empty ones too if the store knows such, as disks
    /// do.
    ///
    /// # Errors
    /// [`StoreError::Failed`] or [`StoreError::Denied`] from the store.
    pub fn folders(&self) -> Result<Vec<String>, StoreError> {
        let found = self.right_below()?;
        Ok(sorted(found.common_prefixes.iter().filter_map(Path::filename)))
    }

    /// Names and sizes (bytes) of all objects in the folder and the folders below it, sorted by name.
    ///
    /// # Errors
    /// [`StoreError::Failed`] or [`StoreError::Denied`] from the store.
    pub fn sizes(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let objects: Vec<_> =
            self.call("", "list", |inner, root| async move { inner.list(Some(&root)).try_collect().await })?;
        let below = |path: &Path| {
            let parts = path.prefix_match(&self.root)?;
            Some(parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/"))
        };
        let mut sizes: Vec<(String, u64)> =
            objects.iter().filter_map(|o: &object_store::ObjectMeta| Some((below(&o.location)?, o.size))).collect();
        sizes.sort_unstable();
        Ok(sizes)
    }

    fn right_below(&self) -> Result<ListResult, StoreError> {
        self.call("", "list", |inner, root| async move { inner.list_with_delimiter(Some(&root)).await })
    }
}

fn sorted<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort_unstable();
    names
}
