//! Which images become which files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use defusion_datasets::is_image;
use defusion_imaging::image_file::check_writable;

use super::error::{Failure, RestoreError};

/// An image to be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Task {
    pub image: PathBuf,
    pub out: PathBuf,
}

/// What there is to do.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    /// Images to be restored, in order.
    pub tasks: Vec<Task>,
    /// Images whose results are there already.
    pub finished: usize,
    /// Folders that cannot be read.
    pub failures: Vec<Failure>,
    /// Files in folders that are no images by their names: how many of each extension.
    pub passed_over: BTreeMap<String, usize>,
    /// Whether the one image is all that was asked for, by name.
    pub single: bool,
}

impl Tasks {
    /// Finds the images and names their results. Makes no folder and reads no image.
    ///
    /// # Errors
    /// [`RestoreError`], if the command cannot work as a whole.
    pub fn find(images: &[PathBuf], out: &Path, force: bool) -> Result<Self, RestoreError> {
        let mut found = Self::default();
        let of_folders = images.iter().any(|path| path.is_dir());
        // A trailing slash says that a folder is meant.
        let slash = out.as_os_str().as_encoded_bytes().ends_with(b"/");
        if !out.is_dir() && !of_folders && !slash {
            let [image] = images else {
                return Err(RestoreError::Folder { path: out.to_owned(), count: images.len() });
            };
            check_writable(out, force)?;
            found.tasks.push(Task { image: image.clone(), out: out.to_owned() });
            found.single = true;
            return Ok(found);
        }
        if out.symlink_metadata().is_ok() && !out.is_dir()
            || !slash && is_image(&out.to_string_lossy()) && !out.is_dir()
        {
            return Err(RestoreError::Folder { path: out.to_owned(), count: images.len() });
        }
        let own = out.canonicalize().ok();
        let mut all = Vec::new();
        for path in images {
            if path.is_dir() {
                if own.is_some() && path.canonicalize().ok() == own {
                    return Err(RestoreError::OwnInput { path: out.to_owned() });
                }
                let before = all.len();
                found.walk(path, out, own.as_deref(), &mut all);
                if all.len() == before && found.failures.is_empty() {
                    return Err(RestoreError::NoImages { path: path.clone() });
                }
            } else {
                all.push(Task { image: path.clone(), out: out.join(png_name(path)) });
            }
        }
        found.single = !of_folders && images.len() == 1;
        refuse_collisions(&all)?;
        for task in all {
            if !force && task.out.symlink_metadata().is_ok() {
                found.finished += 1;
            } else {
                found.tasks.push(task);
            }
        }
        Ok(found)
    }

    /// Says what is left out, and why.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.finished > 0 {
            let files = if self.finished == 1 { "1 image is" } else { &format!("{} images are", self.finished) };
            remarks.push(format!("{files} restored already and left as they are; --force does them again"));
        }
        if !self.passed_over.is_empty() {
            let kinds: Vec<String> = self.passed_over.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            remarks.push(format!("passed over as no images by their names: {}", kinds.join(", ")));
        }
        remarks
    }

    /// Finds the images below `folder`, whose results go to the same places below `out`. Names that begin with a dot are
    /// hidden, and the folder of results, `own`, is none of images.
    fn walk(&mut self, folder: &Path, out: &Path, own: Option<&Path>, all: &mut Vec<Task>) {
        let entries = std::fs::read_dir(folder)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<BTreeSet<_>>>());
        let entries = match entries {
            Ok(entries) => entries,
            Err(source) => {
                let path = folder.to_owned();
                let error = RestoreError::FolderAccess { path: path.clone(), source };
                return self.failures.push(Failure { path, error });
            }
        };
        for path in entries {
            let Some(name) = path.file_name().filter(|name| !name.as_encoded_bytes().starts_with(b".")) else {
                continue;
            };
            // Links to folders may lead in circles.
            let is_folder = path.symlink_metadata().is_ok_and(|data| data.is_dir());
            if is_folder && own.is_none_or(|own| path.canonicalize().ok().as_deref() != Some(own)) {
                self.walk(&path, &out.join(name), own, all);
            } else if path.is_file() {
                match is_image(&name.to_string_lossy()) {
                    true => all.push(Task { out: out.join(png_name(&path)), image: path }),
                    false => {
                        let kind = path.extension().map_or("without extension".to_owned(), |ext| {
                            format!(".{}", ext.to_string_lossy().to_lowercase())
                        });
                        *self.passed_over.entry(kind).or_default() += 1;
                    }
                }
            }
        }
    }
}

/// The name of an image's result: `.png` in place of its extension, and other dots stay.
fn png_name(image: &Path) -> PathBuf {
    let mut name = image.file_stem().unwrap_or_default().to_owned();
    name.push(".png");
    name.into()
}

/// Every result needs a place of its own, and none is an image that is still to be restored.
fn refuse_collisions(tasks: &[Task]) -> Result<(), RestoreError> {
    let images: BTreeSet<PathBuf> = tasks.iter().filter_map(|task| task.image.canonicalize().ok()).collect();
    let mut results = BTreeMap::new();
    for task in tasks {
        if let Some(other) = results.insert(&task.out, &task.image) {
            let images = Box::new([other.clone(), task.image.clone()]);
            return Err(RestoreError::Twice { path: task.out.clone(), images });
        }
        if task.out.canonicalize().is_ok_and(|out| images.contains(&out)) {
            return Err(RestoreError::OwnInput { path: task.out.clone() });
        }
    }
    Ok(())
}
