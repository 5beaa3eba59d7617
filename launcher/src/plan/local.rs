//! Which URLs are paths on this host.

use std::path::Path;

/// Returns the path of a path or `file://` URL; `None` for other URLs.
pub(super) fn local(url: &str) -> Option<&Path> {
    match url.split_once("://") {
        Some(("file", path)) => Some(Path::new(path)),
        Some(_) => None,
        None => Some(Path::new(url)),
    }
}
