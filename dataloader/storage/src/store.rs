//! A folder on any object store, for code that is not async.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{Error, ObjectStore};

use crate::advice::with_advice;
use crate::error::StoreError;
use crate::local;
use crate::location::{Location, LocationError};
use crate::redact::{describe, redact};
use crate::retry::Retry;
use crate::runtime::{self, RuntimeError};

/// A folder on an object store: `file://`, `s3://`, `gs://`, `az://`, `http(s)://`, `memory://NAME` or a plain path.
/// Credentials come from the environment (`AWS_*`, `GOOGLE_*`, `AZURE_*`, instance roles) and never from the URL.
///
/// Names of objects are paths below the folder: `a.json`, `checkpoints/1/b.json`. Clones are cheap and mean the same
/// folder. All calls but [`Store::put_new`] and [`Store::put_if`] are tried again as the store's [`Retry`] says,
/// [`Retry::QUICK`] unless [`Store::with_retry`] has set another.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<dyn ObjectStore>,
    pub(crate) root: Path,
    pub(crate) local: Option<PathBuf>,
    pub(crate) retry: Retry,
    url: String,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the inner store: its own text may hold settings of the environment.
        write!(f, "Store({})", self.url)
    }
}

impl Store {
    /// Opens the folder at `url`. Nothing is read yet; a local folder must exist.
    ///
    /// # Errors
    /// [`StoreError::Url`] for a URL that [`Location::parse`] refuses, [`StoreError::NotFound`].
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let store = Self::at(url)?;
        match &store.local {
            Some(path) if !path.is_dir() => Err(StoreError::NotFound { url: store.url }),
            _ => Ok(store),
        }
    }

    /// Opens the folder at `url`, and makes a local folder that is not there.
    ///
    /// # Errors
    /// [`StoreError::Url`], [`StoreError::Failed`] if the folder cannot be made.
    pub fn create(url: &str) -> Result<Self, StoreError> {
        let store = Self::at(url)?;
        if let Some(path) = &store.local {
            local::create_folder(path).map_err(|e| store.failed("", "create the folder", e.to_string()))?;
        }
        Ok(store)
    }

    /// Means the folder at `url` without touching it. A local folder that is not there has no objects, and is made with
    /// its first one.
    ///
    /// # Errors
    /// [`StoreError::Url`].
    pub fn at(url: &str) -> Result<Self, StoreError> {
        let refused = |LocationError { url, message }| StoreError::Url { url, message };
        let shown = redact(url);
        match Location::parse(url).map_err(refused)? {
            Location::Remote { store, prefix } => Ok(Self::over(store, prefix, &shown)),
            Location::Local(path) => {
                let root = Path::from_absolute_path(&path)
                    .map_err(|e| StoreError::Url { url: shown.clone(), message: e.to_string() })?;
                let inner = Arc::new(LocalFileSystem::new().with_fsync(true));
                Ok(Self { local: Some(path), ..Self::over(inner, root, &shown) })
            }
        }
    }

    /// The folder `root` of any store; `url` names it in messages and must hold no credentials.
    pub fn over(inner: Arc<dyn ObjectStore>, root: Path, url: &str) -> Self {
        let trimmed = url.trim_end_matches('/');
        let url = if trimmed.is_empty() { url } else { trimmed };
        Self { inner, root, local: None, retry: Retry::QUICK, url: url.to_owned() }
    }

    /// The same folder with other retries.
    pub fn with_retry(&self, retry: Retry) -> Self {
        Self { retry, ..self.clone() }
    }

    /// The folder `name` of this folder.
    ///
    /// # Errors
    /// [`StoreError::Url`] for a name that cannot be used.
    pub fn folder(&self, name: &str) -> Result<Self, StoreError> {
        let local = self.local.as_ref().map(|path| path.join(name));
        Ok(Self { root: self.path(name)?, local, url: self.url_of(name), ..self.clone() })
    }

    /// The folder for messages, as it was given but for credentials and slashes at its end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// An object of the folder for messages; the folder itself for an empty name.
    pub fn url_of(&self, name: &str) -> String {
        match name {
            "" => self.url.clone(),
            name => format!("{}/{name}", self.url.trim_end_matches('/')),
        }
    }

    /// The folder's absolute path if it lies on this machine.
    pub fn local_path(&self) -> Option<&std::path::Path> {
        self.local.as_deref()
    }

    /// The object's path in the inner store. Characters stay as they are: what a name looks like is what it is called.
    pub(crate) fn path(&self, name: &str) -> Result<Path, StoreError> {
        if name.is_empty() {
            return Ok(self.root.clone());
        }
        let whole = if self.root.is_root() { name.to_owned() } else { format!("{}/{name}", self.root) };
        Path::parse(whole).map_err(|e| StoreError::Url { url: self.url_of(name), message: e.to_string() })
    }

    /// Runs `request` on the runtime, waits for it, and tries again what may pass.
    pub(crate) fn call<T: Send + 'static, F>(
        &self,
        name: &str,
        action: &'static str,
        request: impl Fn(Arc<dyn ObjectStore>, Path) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = object_store::Result<T>> + Send + 'static,
    {
        let path = self.path(name)?;
        self.retry.run(StoreError::is_transient, || self.once(name, action, request(self.inner.clone(), path.clone())))
    }

    /// Runs `request` once.
    pub(crate) fn once<T: Send + 'static>(
        &self,
        name: &str,
        action: &'static str,
        request: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.answer(name, action, runtime::start(request).and_then(runtime::Request::wait))
    }

    pub(crate) fn answer<T>(
        &self,
        name: &str,
        action: &'static str,
        answer: Result<object_store::Result<T>, RuntimeError>,
    ) -> Result<T, StoreError> {
        let error = match answer {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(error) => return Err(self.failed(name, action, error.to_string())),
        };
        let (url, message) = (self.url_of(name), with_advice(describe(&error)));
        Err(match error {
            Error::NotFound { .. } if message.contains("NoSuchBucket") => {
                StoreError::Url { url, message: "there is no such bucket at the endpoint".into() }
            }
            Error::Generic { .. } if message.contains("non-partial response") => StoreError::Unsupported {
                url,
                action,
                message: "its server gives no parts of files (HTTP ranges)".into(),
            },
            Error::NotFound { .. } => StoreError::NotFound { url },
            Error::AlreadyExists { .. } => StoreError::AlreadyExists { url },
            Error::Precondition { .. } => StoreError::Changed { url },
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
                StoreError::Denied { url, action, message }
            }
            Error::NotSupported { .. } | Error::NotImplemented { .. } => {
                StoreError::Unsupported { url, action, message }
            }
            _ => StoreError::Failed { url, action, message },
        })
    }

    pub(crate) fn failed(&self, name: &str, action: &'static str, message: String) -> StoreError {
        StoreError::Failed { url: self.url_of(name), action, message: with_advice(message) }
    }
}
