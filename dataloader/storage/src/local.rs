//! What object_store leaves open on local disks: folders that are made or changed, durably.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;

/// Makes a folder and those above it, and puts the entries of all that are new on disk.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    let new: Vec<&Path> = path.ancestors().take_while(|folder| !folder.is_dir()).collect();
    std::fs::create_dir_all(path)?;
    new.into_iter().try_for_each(sync_entry)
}

/// Deletes a folder with all that is in it, half-written uploads included; it is no error if there is none.
pub(crate) fn delete_folder(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_entry(path),
    }
}

/// Puts on disk that `path` is, or no longer is, in its folder.
pub(crate) fn sync_entry(path: &Path) -> io::Result<()> {
    match path.parent().map(File::open) {
        None => Ok(()),
        // The folder itself went meanwhile, and the entry with it.
        Some(Err(error)) if error.kind() == ErrorKind::NotFound => Ok(()),
        Some(folder) => folder?.sync_all(),
    }
}
