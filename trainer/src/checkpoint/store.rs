//! A folder in an object store: local disk, S3, Google Cloud Storage, Azure, or memory.

use std::fmt;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use defusion_dataloader::location::{Location, LocationError, describe, redact};
use defusion_dataloader::store::in_pieces;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use sha2::{Digest, Sha256};

use super::{StoreError, StoreErrorKind};

/// Objects above this size are uploaded in parts of [`CHUNK`] and read in ranges of it: a request then stays within
/// the client's time limit on a slow link, and S3's 10,000 parts hold 160 GiB.
const CHUNK: usize = 16 << 20;
/// Parts of one object under way at once.
const IN_FLIGHT: usize = 4;

/// A folder under an object_store URL. Clones are cheap and mean the same folder.
#[derive(Clone)]
pub struct Store {
    inner: Arc<dyn ObjectStore>,
    prefix: Path,
    shown: String,
    local: Option<PathBuf>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the inner store: its Debug output may hold settings of the environment.
        write!(f, "Store({})", self.shown)
    }
}

impl Store {
    /// Opens `url`, a path or an object_store URL: see [`Location::parse`]. Nothing is read or written yet.
    ///
    /// # Errors
    /// [`StoreErrorKind::Url`] where the URL is no such URL, holds credentials, or lacks settings it needs.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let bad = |LocationError { url, message }| StoreError {
            kind: StoreErrorKind::Url,
            action: "open",
            object: url,
            message,
        };
        match Location::parse(url).map_err(bad)? {
            Location::Remote { store, prefix } => Ok(Self::new(store, prefix, redact(url).trim_end_matches('/'))),
            Location::Local(path) => {
                let shown = path.display().to_string();
                let prefix = Path::from_absolute_path(&path)
                    .map_err(|e| bad(LocationError { url: shown.clone(), message: e.to_string() }))?;
                // A checkpoint that was announced must survive a power cut.
                let inner = Arc::new(LocalFileSystem::new().with_fsync(true));
                Ok(Self { inner, prefix, shown, local: Some(path) })
            }
        }
    }

    /// A folder of any store; `shown` names it in messages.
    pub fn new(inner: Arc<dyn ObjectStore>, prefix: Path, shown: &str) -> Self {
        Self { inner, prefix, shown: shown.to_owned(), local: None }
    }

    /// The folder, for messages: a path or a URL without credentials.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// The folder on local disk, where it is on one.
    pub fn local_path(&self) -> Option<&std::path::Path> {
        self.local.as_deref()
    }

    /// How an object is named in messages.
    pub fn url_of(&self, name: &str) -> String {
        format!("{}/{name}", self.shown)
    }

    fn path(&self, name: &str) -> Path {
        name.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    fn error(&self, action: &'static str, name: &str, error: &Error) -> StoreError {
        let kind = match error {
            Error::NotFound { .. } => StoreErrorKind::NotFound,
            Error::AlreadyExists { .. } | Error::Precondition { .. } => StoreErrorKind::AlreadyExists,
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => StoreErrorKind::Denied,
            Error::NotSupported { .. } | Error::NotImplemented { .. } => StoreErrorKind::Unsupported,
            _ => StoreErrorKind::Other,
        };
        StoreError { kind, action, object: self.url_of(name), message: describe(error) }
    }

    /// Size of an object in bytes, or `None` where there is none.
    ///
    /// # Errors
    /// The store's.
    pub async fn size(&self, name: &str) -> Result<Option<u64>, StoreError> {
        match self.inner.head(&self.path(name)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.error("stat", name, &error)),
        }
    }

    /// A small object, or `None` where there is none.
    ///
    /// # Errors
    /// The store's; [`StoreErrorKind::Content`] where the object is larger than `limit` bytes.
    pub async fn get_small(&self, name: &str, limit: u64) -> Result<Option<Bytes>, StoreError> {
        let result = match self.inner.get(&self.path(name)).await {
            Ok(result) => result,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.error("read", name, &error)),
        };
        if result.meta.size > limit {
            return Err(StoreError {
                kind: StoreErrorKind::Content,
                action: "read",
                object: self.url_of(name),
                message: format!("{} bytes, where at most {limit} are expected", result.meta.size),
            });
        }
        result.bytes().await.map(Some).map_err(|e| self.error("read", name, &e))
    }

    /// Reads an object of `size` bytes in order, in pieces, several ranges ahead.
    ///
    /// # Errors
    /// The store's, or `each`'s; [`StoreErrorKind::Content`] where a range comes back short.
    pub async fn read_pieces(&self, name: &str, size: u64, mut each: impl FnMut(&[u8])) -> Result<(), StoreError> {
        let mut pieces = pin!(in_pieces(self.inner.clone(), self.path(name), size, CHUNK));
        let mut left = size;
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|e| self.error("read", name, &e))?;
            let expected = left.min(CHUNK as u64);
            if piece.len() as u64 != expected {
                return Err(StoreError {
                    kind: StoreErrorKind::Content,
                    action: "read",
                    object: self.url_of(name),
                    message: format!("{} bytes came where {expected} were asked for", piece.len()),
                });
            }
            left -= expected;
            each(&piece);
        }
        Ok(())
    }

    /// sha256 (hex) of an object of `size` bytes.
    ///
    /// # Errors
    /// As [`Store::read_pieces`].
    pub async fn sha256(&self, name: &str, size: u64) -> Result<String, StoreError> {
        let mut hash = Sha256::new();
        self.read_pieces(name, size, |piece| hash.update(piece)).await?;
        Ok(hex(&hash.finalize()))
    }

    /// Writes an object whole, replacing one of the same name. Readers see the old or the new one, never a mixture.
    /// Large ones go in parts; a failed upload is aborted.
    ///
    /// # Errors
    /// The store's.
    pub async fn put(&self, name: &str, data: Bytes) -> Result<(), StoreError> {
        let path = self.path(name);
        let fail = |e: Error| self.error("write", name, &e);
        if data.len() <= 2 * CHUNK {
            return self.inner.put(&path, data.into()).await.map(drop).map_err(fail);
        }
        let mut upload = self.inner.put_multipart(&path).await.map_err(fail)?;
        let parts = (0..data.len()).step_by(CHUNK).map(|start| data.slice(start..data.len().min(start + CHUNK)));
        let result = stream::iter(parts)
            .map(|part| upload.put_part(part.into()))
            .buffer_unordered(IN_FLIGHT)
            .try_collect::<()>()
            .await;
        let result = match result {
            Ok(()) => upload.complete().await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            if let Err(abort) = upload.abort().await {
                tracing::warn!("{}", self.error("abort the upload of", name, &abort));
            }
            return Err(fail(error));
        }
        Ok(())
    }

    /// Creates an object; exactly one of several that race wins, on stores with conditional writes (local disks, S3,
    /// Google, Azure, memory).
    ///
    /// # Errors
    /// [`StoreErrorKind::AlreadyExists`] where there is one; the store's.
    pub async fn put_new(&self, name: &str, data: Bytes) -> Result<(), StoreError> {
        let options = PutOptions { mode: PutMode::Create, ..Default::default() };
        let path = self.path(name);
        let result = self.inner.put_opts(&path, data.clone().into(), options).await;
        match result.map_err(|e| self.error("create", name, &e)) {
            // Some mounted file systems have no hard links, which the conditional write needs.
            Err(error) if self.local.is_some() && error.kind == StoreErrorKind::Other => match self.size(name).await? {
                Some(_) => Err(StoreError { kind: StoreErrorKind::AlreadyExists, ..error }),
                None => self.put(name, data).await,
            },
            result => result.map(drop),
        }
    }

    /// Names (below `folder`, without it) and sizes of all objects below `folder`.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(&self, folder: &str) -> Result<Vec<(String, u64)>, StoreError> {
        let prefix = self.path(folder);
        let objects: Vec<_> =
            self.inner.list(Some(&prefix)).try_collect().await.map_err(|e| self.error("list", folder, &e))?;
        let name = |path: &Path| {
            path.prefix_match(&prefix).map(|parts| parts.map(|p| p.as_ref().to_owned()).collect::<Vec<_>>().join("/"))
        };
        Ok(objects.into_iter().filter_map(|o| Some((name(&o.location)?, o.size))).collect())
    }

    /// Names of the folders right below `folder`.
    ///
    /// # Errors
    /// The store's.
    pub async fn list_folders(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let prefix = self.path(folder);
        let listed = self.inner.list_with_delimiter(Some(&prefix)).await.map_err(|e| self.error("list", folder, &e))?;
        Ok(listed.common_prefixes.iter().filter_map(|p| Some(p.filename()?.to_owned())).collect())
    }

    /// Deletes an object, if it exists.
    ///
    /// # Errors
    /// The store's.
    pub async fn delete(&self, name: &str) -> Result<(), StoreError> {
        match self.inner.delete(&self.path(name)).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.error("delete", name, &error)),
        }
    }

    /// Deletes a folder with all that is in it, half-written uploads on local disk included.
    ///
    /// # Errors
    /// The store's.
    pub async fn delete_folder(&self, folder: &str) -> Result<(), StoreError> {
        if let Some(local) = &self.local {
            return match tokio::fs::remove_dir_all(local.join(folder)).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError {
                    kind: StoreErrorKind::Other,
                    action: "delete",
                    object: self.url_of(folder),
                    message: error.to_string(),
                }),
                _ => Ok(()),
            };
        }
        for (name, _) in self.list(folder).await? {
            self.delete(&format!("{folder}/{name}")).await?;
        }
        Ok(())
    }
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
