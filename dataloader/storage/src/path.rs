//! Paths on this machine, as people write them.

use std::path::{Component, Path, PathBuf};

/// The absolute path that `text` means, which is no URL. `~/` is the home folder: not every shell, and no recipe, replaces it.
///
/// # Errors
/// Why it can hardly be meant as a path of this machine, and what to do.
pub(crate) fn plain(text: &str) -> Result<PathBuf, String> {
    let (head, tail) = text.split_once(':').unwrap_or((text, ""));
    if ["file", "s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "http", "https", "memory"].contains(&head)
        && !tail.is_empty()
    {
        return Err(format!("a URL has two slashes behind its colon: {head}://{}", tail.trim_start_matches('/')));
    }
    if head.len() == 1 && head.starts_with(|c: char| c.is_ascii_alphabetic()) && tail.starts_with(['\\', '/']) {
        return Err(
            "is a path of Windows; here it has another name (in WSL, its drive is a folder among the mounts)".into()
        );
    }
    let path = match text.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/')) {
        Some(rest) => {
            let home = std::env::var("HOME").map_err(|_| "begins with `~`, but HOME is not set".to_owned())?;
            Path::new(&home).join(rest.trim_start_matches('/'))
        }
        None => PathBuf::from(text),
    };
    absolute(&path).map_err(|e| e.to_string())
}

/// `path`, absolute and without `.` and `..`; what exists of it is resolved as the system does, links included.
pub(crate) fn absolute(path: &Path) -> std::io::Result<PathBuf> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_path_of_this_machine_is_refused() {
        for (text, hint) in [
            ("s3:/bucket/a", "s3://bucket/a"),
            ("file:/data", "file://data"),
            (r"C:\data\x", "WSL"),
            ("d:/data", "Windows"),
        ] {
            let error = plain(text).unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        }
        for text in ["a:b", "x:", "1:/a", "set:2/a"] {
            assert!(plain(text).unwrap().ends_with(text), "{text}");
        }
    }

    #[test]
    fn a_tilde_is_the_home_folder() {
        let home = absolute(Path::new(&std::env::var("HOME").unwrap())).unwrap();
        assert_eq!(plain("~").unwrap(), home);
        assert_eq!(plain("~/no such/x").unwrap(), home.join("no such/x"));
        assert!(plain("~name/x").unwrap().ends_with("~name/x"));
    }
}
