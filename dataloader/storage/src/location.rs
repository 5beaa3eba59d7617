//! Where a folder is: a path or an object_store URL, opened with the environment's credentials.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use object_store::ObjectStore;
use object_store::memory::InMemory;
use url::Url;

use crate::redact::redact;
use crate::{path, remote};

/// A folder that has been located; nothing is read or written yet.
#[derive(Clone)]
pub enum Location {
    /// On this machine: an absolute path without `..`, which need not exist.
    Local(PathBuf),
    /// In an object store.
    Remote {
        /// The store.
        store: Arc<dyn ObjectStore>,
        /// The folder within it.
        prefix: object_store::path::Path,
    },
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "Local({path:?})"),
            // Not the store: its own text may hold settings of the environment.
            Self::Remote { prefix, .. } => write!(f, "Remote({prefix})"),
        }
    }
}

/// A URL that cannot be used. Its text never holds credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url}: {message}")]
pub struct LocationError {
    /// The URL without credentials.
    pub url: String,
    /// Reason, and what to do.
    pub message: String,
}

impl LocationError {
    /// Returns whether the same URL can be used later; it needs a person.
    pub fn is_transient(&self) -> bool {
        false
    }
}

impl Location {
    /// Locates `url`: a plain path (relative to the working directory, or to the home folder after `~/`), `file://`, `s3://`, `gs://`, `az://` or
    /// `abfs(s)://`, `http(s)://`, or `memory://NAME/`, which means the same store throughout a process. Credentials and
    /// endpoints come from the environment's standard variables and chains (`AWS_*` and AWS profiles, `GOOGLE_*`, `AZURE_*`,
    /// instance roles), never from the URL.
    ///
    /// # Errors
    /// [`LocationError`] for an empty or unknown URL, one with credentials, options or a fragment (`#`), or one that lacks
    /// settings.
    pub fn parse(url: &str) -> Result<Self, LocationError> {
        let error = |message: String| LocationError { url: redact(url), message: redact(&message) };
        if url.is_empty() {
            return Err(error("the path is empty".into()));
        }
        if !url.contains("://") {
            return Ok(Self::Local(path::plain(url).map_err(error)?));
        }
        let parsed = Url::parse(url).map_err(|e| error(e.to_string()))?;
        // abfss://CONTAINER@ACCOUNT.host/: a name, not a secret.
        let container = matches!(parsed.scheme(), "az" | "azure" | "adl" | "abfs" | "abfss");
        let user = !parsed.username().is_empty() && !container;
        if user || parsed.password().is_some() || parsed.query().is_some() {
            return Err(error("holds credentials or options; give them through the environment instead".into()));
        }
        if parsed.fragment().is_some() {
            // Left alone it would end the path, and two folders would be one.
            return Err(error("holds a `#`, which does not belong to a URL's path; write %23 for it".into()));
        }
        match parsed.scheme() {
            "file" => {
                let path = parsed.to_file_path().map_err(|()| error("expected file:///absolute/path".into()))?;
                Ok(Self::Local(path::absolute(&path).map_err(|e| error(e.to_string()))?))
            }
            "memory" => {
                let name = parsed.host_str().unwrap_or_default().to_owned();
                let store = MEMORY.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default().clone();
                let prefix = object_store::path::Path::from_url_path(parsed.path());
                Ok(Self::Remote { store, prefix: prefix.map_err(|e| error(e.to_string()))? })
            }
            _ => {
                let (store, prefix) = remote::open(&parsed).map_err(error)?;
                Ok(Self::Remote { store, prefix })
            }
        }
    }
}

/// Stores behind `memory://NAME/`.
static MEMORY: LazyLock<Mutex<HashMap<String, Arc<InMemory>>>> = LazyLock::new(Mutex::default);

/// The folder `name` below `url`.
pub fn join(url: &str, name: &str) -> String {
    format!("{}/{name}", url.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn urls_with_credentials_are_refused_without_showing_them() {
        for url in ["s3://KEY:SECRET@bucket/a", "s3://SECRET@bucket", "https://a.blob.core.windows.net/c?sig=SECRET"] {
            let error = Location::parse(url).unwrap_err();
            assert!(error.message.contains("environment"), "{error}");
            assert!(!format!("{error} {error:?}").contains("SECRET"), "{error:?}");
        }
    }

    #[test]
    fn unknown_urls_are_refused_by_name() {
        for url in ["ftp://host/x", "s3:///no-bucket", "", "memory://a/../b?x=1"] {
            let error = Location::parse(url).expect_err(url);
            assert!(url.starts_with(&error.url), "{error}");
        }
    }

    #[test]
    fn paths_become_absolute_whether_they_exist_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("a")).unwrap();
        let locate = |path: String| match Location::parse(&path) {
            Ok(Location::Local(path)) => path,
            other => panic!("{path}: {other:?}"),
        };
        let shown = root.display();
        assert_eq!(locate(format!("{shown}/a/../new/./deep/../x y%")), root.join("new/x y%"));
        assert_eq!(locate(format!("file://{shown}/a/new%20one")), root.join("a/new one"));
        std::os::unix::fs::symlink(root.join("a"), root.join("link")).unwrap();
        assert_eq!(locate(format!("{shown}/link/new")), root.join("a/new"));
    }

    #[test]
    fn a_fragment_is_refused_and_its_escape_is_a_name() {
        for url in ["file:///x/exp#2", "s3://bucket/exp#2", "memory://fragment/exp#2", "https://a.net/exp#"] {
            let error = Location::parse(url).unwrap_err().to_string();
            assert!(error.contains("%23") && error.contains("exp"), "{error}");
        }
        match Location::parse("memory://fragment/exp%232") {
            Ok(Location::Remote { prefix, .. }) => assert_eq!(prefix.as_ref(), "exp#2"),
            other => panic!("{other:?}"),
        }
        for url in ["file:///exp%232", "/exp#2"] {
            match Location::parse(url) {
                Ok(Location::Local(path)) => assert_eq!(path, Path::new("/exp#2")),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn memory_is_shared_by_name() {
        let store = |url| match Location::parse(url).unwrap() {
            Location::Remote { store, prefix } => (Arc::as_ptr(&store).cast::<()>(), prefix.to_string()),
            Location::Local(path) => panic!("{path:?}"),
        };
        assert_eq!(store("memory://location/a/b"), (store("memory://location/c").0, "a/b".to_owned()));
        assert_ne!(store("memory://location/a").0, store("memory://elsewhere/a").0);
    }
}
