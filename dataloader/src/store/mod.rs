//! Folders on any object store, for code that is not async.

mod pieces;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart};

pub use pieces::{Pieces, in_pieces};

use crate::location::{Location, LocationError, describe, redact};

/// Objects above this size are sent in parts, so that a slow link does not run into the client's time limit.
const PART: usize = 8 << 20;

/// A folder on an object store: `file://`, `s3://`, `gs://`, `az://`, `http(s)://`, `memory://NAME` or a plain path.
/// Credentials come from the environment (`AWS_*`, `GOOGLE_*`, `AZURE_*`, instance roles) and never from the URL.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<dyn ObjectStore>,
    root: object_store::path::Path,
    local: Option<PathBuf>,
    shown: String,
}

/// A folder or object that cannot be reached. Its text never holds credentials.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL cannot be understood, or is of no known kind.
    #[error("{url}: {message}")]
    Url {
        /// The URL without credentials.
        url: String,
        /// Why.
        message: String,
    },
    /// There is no such folder or object.
    #[error("{url} does not exist")]
    NotFound {
        /// The object.
        url: String,
    },
    /// The object is larger than anything of its kind can be.
    #[error("{url} has {bytes} bytes, more than the {limit} allowed")]
    TooLarge {
        /// The object.
        url: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Any other failure, after the client's own retries.
    #[error("{url}: cannot {action}: {message}")]
    Failed {
        /// The object.
        url: String,
        /// What was tried.
        action: &'static str,
        /// Why.
        message: String,
    },
}

impl Store {
    /// The folder at `url`. Nothing is read yet; a local folder must exist.
    ///
    /// # Errors
    /// [`StoreError::Url`], [`StoreError::NotFound`].
    pub fn open(url: &str) -> Result<Self, StoreError> {
        Self::new(url, false)
    }

    /// As [`Store::open`], but makes a local folder that is not there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn create(url: &str) -> Result<Self, StoreError> {
        Self::new(url, true)
    }

    fn new(url: &str, create: bool) -> Result<Self, StoreError> {
        let shown = redact(url);
        match Location::parse(url) {
            Ok(Location::Local(path)) => Self::local(path, shown, create),
            Ok(Location::Remote { store, prefix }) => Ok(Self { inner: store, root: prefix, local: None, shown }),
            Err(LocationError { url, message }) => Err(StoreError::Url { url, message }),
        }
    }

    fn local(path: PathBuf, shown: String, create: bool) -> Result<Self, StoreError> {
        if create {
            std::fs::create_dir_all(&path).map_err(|e| StoreError::Failed {
                url: shown.clone(),
                action: "create the folder",
                message: e.to_string(),
            })?;
        } else if !path.is_dir() {
            return Err(StoreError::NotFound { url: shown });
        }
        let inner = LocalFileSystem::new_with_prefix(&path)
            .map_err(|e| StoreError::Url { url: shown.clone(), message: e.to_string() })?;
        Ok(Self {
            inner: Arc::new(inner),
            root: object_store::path::Path::default(),
            local: Some(path),
            shown: shown.trim_end_matches('/').to_owned(),
        })
    }

    /// The folder for messages: without credentials.
    pub fn url(&self) -> &str {
        &self.shown
    }

    /// An object of the folder, for messages.
    pub fn url_of(&self, name: &str) -> String {
        format!("{}/{name}", self.shown.trim_end_matches('/'))
    }

    /// The folder's path where it lies on this machine.
    pub fn local_path(&self) -> Option<&Path> {
        self.local.as_deref()
    }

    /// The whole object.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] before anything is read where it has more than `limit` bytes; [`StoreError`].
    pub fn get(&self, name: &str, limit: u64) -> Result<Bytes, StoreError> {
        let bytes = self.size(name)?.ok_or_else(|| StoreError::NotFound { url: self.url_of(name) })?;
        if bytes > limit {
            return Err(StoreError::TooLarge { url: self.url_of(name), bytes, limit });
        }
        let (inner, path) = (self.inner.clone(), self.root.clone().join(name));
        self.wait(name, "read", async move { inner.get(&path).await?.bytes().await })
    }

    /// The object's size in bytes; `None` where there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn size(&self, name: &str) -> Result<Option<u64>, StoreError> {
        let (inner, path) = (self.inner.clone(), self.root.clone().join(name));
        match self.wait(name, "read", async move { inner.head(&path).await }) {
            Ok(meta) => Ok(Some(meta.size)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Writes the object as a whole: it is never seen in part.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put(&self, name: &str, bytes: Bytes) -> Result<(), StoreError> {
        let (inner, path) = (self.inner.clone(), self.root.clone().join(name));
        let whole = bytes.len() <= PART || self.local.is_some();
        self.wait(name, "write", async move {
            if whole {
                return inner.put(&path, PutPayload::from_bytes(bytes)).await.map(|_| ());
            }
            let mut upload = WriteMultipart::new_with_chunk_size(inner.put_multipart(&path).await?, PART);
            for start in (0..bytes.len()).step_by(PART) {
                upload.wait_for_capacity(4).await?;
                upload.put(bytes.slice(start..bytes.len().min(start + PART)));
            }
            upload.finish().await.map(|_| ())
        })
    }

    /// Deletes the object; it is no error where there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn delete(&self, name: &str) -> Result<(), StoreError> {
        let (inner, path) = (self.inner.clone(), self.root.clone().join(name));
        match self.wait(name, "delete", async move { inner.delete(&path).await }) {
            Err(StoreError::NotFound { .. }) => Ok(()),
            done => done,
        }
    }

    /// Names of all objects right in the folder.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn list(&self) -> Result<Vec<String>, StoreError> {
        let (inner, root) = (self.inner.clone(), self.root.clone());
        let found = self.wait("", "list", async move { inner.list_with_delimiter(Some(&root)).await })?;
        Ok(found.objects.iter().filter_map(|o| o.location.filename().map(str::to_owned)).collect())
    }

    /// Names of all folders right in the folder, in their order. On a disk empty ones too.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn folders(&self) -> Result<Vec<String>, StoreError> {
        let (inner, root) = (self.inner.clone(), self.root.clone());
        let found = self.wait("", "list", async move { inner.list_with_delimiter(Some(&root)).await })?;
        let mut names: Vec<String> =
            found.common_prefixes.iter().filter_map(|p| p.filename().map(str::to_owned)).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Runs `work` on the stores' own runtime and waits for it; may be called from any thread.
    fn wait<T: Send + 'static>(
        &self,
        name: &str,
        action: &'static str,
        work: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        runtime().map_err(|message| self.failed(name, action, message))?.spawn(async move {
            // The receiver waits below: it cannot be gone.
            let _ = sender.send(work.await);
        });
        match receiver.recv() {
            Ok(done) => done.map_err(|e| self.error(name, action, &e)),
            Err(_) => Err(self.failed(name, action, "the request's task panicked".into())),
        }
    }

    fn error(&self, name: &str, action: &'static str, error: &object_store::Error) -> StoreError {
        match error {
            object_store::Error::NotFound { .. } => StoreError::NotFound { url: self.shown_of(name) },
            error => self.failed(name, action, describe(error)),
        }
    }

    fn failed(&self, name: &str, action: &'static str, message: String) -> StoreError {
        StoreError::Failed { url: self.shown_of(name), action, message }
    }

    /// An object's URL, or the folder's own.
    fn shown_of(&self, name: &str) -> String {
        if name.is_empty() { self.shown.clone() } else { self.url_of(name) }
    }
}

fn runtime() -> Result<&'static tokio::runtime::Runtime, String> {
    static RUNTIME: OnceLock<Result<tokio::runtime::Runtime, String>> = OnceLock::new();
    RUNTIME
        .get_or_init(|| {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .thread_name("object-store")
                .enable_all()
                .build()
                .map_err(|e| e.to_string())
        })
        .as_ref()
        .map_err(Clone::clone)
}

/// The folder `name` below `url`.
pub fn join(url: &str, name: &str) -> String {
    format!("{}/{name}", url.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_objects() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new").display().to_string();
        assert!(matches!(Store::open(&path), Err(StoreError::NotFound { .. })));
        for url in [path.as_str(), "memory://store-test/a/b"] {
            let store = Store::create(url).unwrap();
            assert_eq!(store.size("x").unwrap(), None);
            let big = Bytes::from(vec![7u8; PART * 2 + 5]);
            store.put("x", big.clone()).unwrap();
            assert_eq!(store.size("x").unwrap(), Some(big.len() as u64));
            assert_eq!(store.get("x", 1 << 30).unwrap(), big);
            assert!(matches!(store.get("x", 9), Err(StoreError::TooLarge { .. })));
            let pieces: Vec<Bytes> = store.pieces("x", big.len() as u64).unwrap().map(Result::unwrap).collect();
            assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [PART, PART, 5]);
            assert_eq!(pieces.concat(), big);
            let mut none = store.pieces("z", 9).unwrap();
            assert!(matches!(none.next(), Some(Err(StoreError::NotFound { .. }))));
            assert!(none.next().is_none());
            Store::create(&join(url, "sub")).unwrap().put("y", Bytes::from_static(b"1")).unwrap();
            assert_eq!((store.list().unwrap(), store.folders().unwrap()), (vec!["x".into()], vec!["sub".into()]));
            store.delete("x").unwrap();
            store.delete("x").unwrap();
            assert!(matches!(store.get("x", 9), Err(StoreError::NotFound { .. })));
        }
    }
}
