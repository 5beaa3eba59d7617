//! Where a folder is: a path or an object_store URL, opened with the environment's credentials.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::memory::InMemory;
use object_store::{ClientOptions, ObjectStore, ObjectStoreScheme};
use url::{Position, Url};

/// A folder that has been located; nothing is read or written yet.
#[derive(Clone, Debug)]
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

/// A URL that cannot be used. Its text never holds credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url}: {message}")]
pub struct LocationError {
    /// The URL without credentials.
    pub url: String,
    /// Why, and what to do.
    pub message: String,
}

impl Location {
    /// Locates `url`: a plain path (relative to the working directory), `file://`, `s3://`, `gs://`, `az://` or
    /// `abfs(s)://`, `http(s)://`, or `memory://NAME/`, which means the same store throughout a process. Credentials and
    /// endpoints come from the environment's standard variables and chains (`AWS_*`, `GOOGLE_*`, `AZURE_*`, instance
    /// roles), never from the URL.
    ///
    /// # Errors
    /// [`LocationError`] for an empty or unknown URL, one with credentials, or one that lacks settings.
    pub fn parse(url: &str) -> Result<Self, LocationError> {
        let error = |message: String| LocationError { url: redact(url), message: redact(&message) };
        if url.is_empty() {
            return Err(error("the path is empty".into()));
        }
        if !url.contains("://") {
            return Ok(Self::Local(absolute(Path::new(url)).map_err(|e| error(e.to_string()))?));
        }
        let parsed = Url::parse(url).map_err(|e| error(e.to_string()))?;
        // abfss://CONTAINER@ACCOUNT.host/: a name, not a secret.
        let container = matches!(parsed.scheme(), "az" | "azure" | "adl" | "abfs" | "abfss");
        let user = !parsed.username().is_empty() && !container;
        if user || parsed.password().is_some() || parsed.query().is_some() {
            return Err(error("holds credentials or options; give them through the environment instead".into()));
        }
        match parsed.scheme() {
            "file" => {
                let path = parsed.to_file_path().map_err(|()| error("expected file:///absolute/path".into()))?;
                Ok(Self::Local(absolute(&path).map_err(|e| error(e.to_string()))?))
            }
            "memory" => {
                let name = parsed.host_str().unwrap_or_default().to_owned();
                let store = MEMORY.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default().clone();
                let prefix = object_store::path::Path::from_url_path(parsed.path());
                Ok(Self::Remote { store, prefix: prefix.map_err(|e| error(e.to_string()))? })
            }
            _ => remote(&parsed).map_err(|e| error(e.to_string())),
        }
    }
}

/// Stores behind `memory://NAME/`.
static MEMORY: LazyLock<Mutex<HashMap<String, Arc<InMemory>>>> = LazyLock::new(Mutex::default);

fn remote(url: &Url) -> Result<Location, object_store::Error> {
    let (scheme, prefix) = ObjectStoreScheme::parse(url)?;
    // Each builder reads its own variables only: a stray TOKEN or BUCKET in the environment means nothing here.
    let store: Arc<dyn ObjectStore> = match scheme {
        ObjectStoreScheme::AmazonS3 => Arc::new(AmazonS3Builder::from_env().with_url(url.as_str()).build()?),
        ObjectStoreScheme::GoogleCloudStorage => {
            Arc::new(GoogleCloudStorageBuilder::from_env().with_url(url.as_str()).build()?)
        }
        ObjectStoreScheme::MicrosoftAzure => {
            Arc::new(MicrosoftAzureBuilder::from_env().with_url(url.as_str()).build()?)
        }
        ObjectStoreScheme::Http => {
            let options = ClientOptions::new().with_allow_http(url.scheme() == "http");
            Arc::new(HttpBuilder::new().with_url(&url[..Position::BeforePath]).with_client_options(options).build()?)
        }
        other => {
            let source = format!("{other:?} is none of file, s3, gs, az, http and memory").into();
            return Err(object_store::Error::NotSupported { source });
        }
    };
    Ok(Location::Remote { store, prefix })
}

/// `path`, absolute and without `.` and `..`; what exists of it is resolved as the system does, links included.
fn absolute(path: &Path) -> std::io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let existing = path.ancestors().find_map(|a| Some((a, a.canonicalize().ok()?)));
    let Some((existing, mut resolved)) = existing else { return Ok(path) };
    for component in path.strip_prefix(existing).unwrap_or(&path).components() {
        match component {
            Component::ParentDir => drop(resolved.pop()),
            component => resolved.push(component),
        }
    }
    Ok(resolved)
}

/// An error and its causes, each once, without secrets: object_store's own texts often end with their cause.
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    redact(&text)
}

/// `text` without what may be secret in its URLs: user, password, query (where signed URLs carry their signature) and
/// fragment.
pub fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, url) = rest.split_at(at + 3);
        out.push_str(before);
        // A comma or bracket may be part of a query: only what can be in no URL ends it, and the bracket around one.
        let end = url.find(|c: char| c.is_whitespace() || "\"'<>)".contains(c)).unwrap_or(url.len());
        let (url, after) = url.split_at(end);
        let kept = &url[..url.find(['?', '#']).unwrap_or(url.len())];
        let host_end = kept.find('/').unwrap_or(kept.len());
        out.push_str(match kept[..host_end].rfind('@') {
            Some(user) => &kept[user + 1..],
            None => kept,
        });
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lose_their_secrets() {
        assert_eq!(redact("s3://KEY:SECRET@bucket/a?x=1 failed"), "s3://bucket/a failed");
        assert_eq!(redact("get (https://a.net/c/b?v=1,2&sig=SECRET): 403"), "get (https://a.net/c/b): 403");
        assert_eq!(redact("plain /path?with=query"), "plain /path?with=query");
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
    fn memory_is_shared_by_name() {
        let store = |url| match Location::parse(url).unwrap() {
            Location::Remote { store, prefix } => (Arc::as_ptr(&store).cast::<()>(), prefix.to_string()),
            Location::Local(path) => panic!("{path:?}"),
        };
        assert_eq!(store("memory://location/a/b"), (store("memory://location/c").0, "a/b".to_owned()));
        assert_ne!(store("memory://location/a").0, store("memory://elsewhere/a").0);
    }
}
