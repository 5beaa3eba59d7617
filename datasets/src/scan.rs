//! From a folder to pairs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use defusion_config::Degradation;
use defusion_config::protocol::EXIT_USAGE;

use crate::pairing::Found;
use crate::{Descriptor, Fit, Problem, ProblemKind};

/// One degraded image and its clean one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Path of the degraded file relative to the dataset's root, or of the clean one if there is none. Unique within the
    /// split.
    pub key: String,
    /// Name of the split.
    pub split: String,
    /// Categories of the degraded image, in order.
    pub degradations: Vec<Degradation>,
    /// Path of the degraded image; `None` if the set has clean images only.
    pub lq: Option<PathBuf>,
    /// Path of the clean image.
    pub gt: PathBuf,
    /// What to do if the clean image is larger.
    pub fit: Fit,
}

/// What a folder holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// All pairs, by split and then by key.
    pub pairs: Vec<Pair>,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
    /// The folder that the files of problems are relative to.
    pub root: PathBuf,
    /// Names of the descriptor's splits of which no file is there.
    pub absent: Vec<String>,
}

/// A folder or CSV that cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// There is no such folder or file, or it cannot be read.
    #[error("cannot read {}: {message}", path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// No file of the dataset is there.
    #[error("{} holds no file of dataset {dataset}; looked for {wanted}", path.display())]
    Nothing {
        /// The folder.
        path: PathBuf,
        /// Name of the dataset.
        dataset: String,
        /// Templates that were tried.
        wanted: String,
    },
    /// There are degraded images, but nobody says how they are degraded.
    #[error("dataset {dataset} does not say how its images are degraded: name the categories (--degradations)")]
    NoDegradations {
        /// Name of the dataset.
        dataset: String,
    },
    /// The dataset has no layout of its own and comes through a CSV.
    #[error("dataset {dataset} has no published layout: list its pairs in a CSV (columns lq,gt,task,split)")]
    NoLayout {
        /// Name of the dataset.
        dataset: String,
    },
}

impl ScanError {
    /// Whether starting again can help: never, a person has to name another folder or mend this one.
    pub fn is_transient(&self) -> bool {
        false
    }

    /// Exit code of a program that ends because of it.
    pub fn exit_code(&self) -> i32 {
        EXIT_USAGE
    }
}

/// Finds the pairs of `descriptor` in the folder `root`. Only names are looked at; no image is opened.
///
/// # Errors
/// [`ScanError`] if nothing can be found. What concerns single files is in [`Listing::problems`].
pub fn scan(descriptor: &Descriptor, root: &Path) -> Result<Listing, ScanError> {
    if descriptor.splits.is_empty() {
        return Err(ScanError::NoLayout { dataset: descriptor.name.clone() });
    }
    let (files, mut problems) = files(root)?;
    let mut listing = Listing { root: root.to_owned(), ..Listing::default() };
    for (name, split) in &descriptor.splits {
        let mut found = Found { split: name, root, pairs: Vec::new(), problems: Vec::new(), any: false };
        for source in &split.sources {
            let degradations = source.degradations.as_ref().unwrap_or(&descriptor.degradations);
            found.source(descriptor, source, degradations, &files);
        }
        if !found.any {
            listing.absent.push(name.clone());
            continue;
        }
        found.pairs.sort_by(|a, b| a.key.cmp(&b.key));
        for twins in found.pairs.windows(2).filter(|w| w[0].key == w[1].key) {
            found.problems.push(Problem::new(name, &twins[0].key, ProblemKind::Duplicate));
        }
        found.pairs.dedup_by(|a, b| a.key == b.key);
        let count = found.pairs.len() as u64;
        if let Some(published) = split.count.filter(|published| *published != count) {
            problems.push(Problem::new(name, "whole split", ProblemKind::Count { found: count, published }));
        }
        listing.pairs.append(&mut found.pairs);
        problems.append(&mut found.problems);
    }
    if listing.pairs.iter().any(|pair| pair.lq.is_some() && pair.degradations.is_empty()) {
        return Err(ScanError::NoDegradations { dataset: descriptor.name.clone() });
    }
    if listing.absent.len() == descriptor.splits.len() {
        let wanted: BTreeSet<String> = descriptor
            .splits
            .values()
            .flat_map(|split| &split.sources)
            .flat_map(|source| &source.layouts)
            .map(|layout| layout.lq.as_ref().unwrap_or(&layout.gt).to_string())
            .collect();
        return Err(ScanError::Nothing {
            path: root.to_owned(),
            dataset: descriptor.name.clone(),
            wanted: wanted.into_iter().collect::<Vec<_>>().join(", "),
        });
    }
    listing.problems = problems;
    Ok(listing)
}

/// Lists all files below `root`, relative, with `/`, sorted; and those that cannot be reached.
fn files(root: &Path) -> Result<(Vec<String>, Vec<Problem>), ScanError> {
    let error = |message: String| ScanError::Folder { path: root.to_owned(), message };
    if !root.metadata().map_err(|e| error(e.to_string()))?.is_dir() {
        return Err(error("is not a folder".into()));
    }
    let mut files = Vec::new();
    let mut problems = Vec::new();
    for entry in walkdir::WalkDir::new(root).follow_links(true) {
        let relative = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/");
        match entry {
            Ok(entry) if entry.file_type().is_file() => match entry.path().strip_prefix(root).map(Path::to_str) {
                Ok(Some(path)) => files.push(path.replace(std::path::MAIN_SEPARATOR, "/")),
                _ => {
                    let kind = ProblemKind::Unreadable("its name is not UTF-8".into());
                    problems.push(Problem::new("any", &relative(entry.path()), kind));
                }
            },
            Ok(_) => {}
            Err(e) => {
                let file = e.path().map(relative).unwrap_or_default();
                problems.push(Problem::new("any", &file, ProblemKind::Unreadable(e.to_string())));
            }
        }
    }
    files.sort_unstable();
    Ok((files, problems))
}
