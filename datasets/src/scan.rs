//! From a folder to pairs.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use defusion_config::protocol::EXIT_USAGE;

use crate::pairing::Found;
use crate::passed_over::{Kind, unwanted};
use crate::template::is_image;
use crate::{Descriptor, Listing, PassedOver, Problem, ProblemKind};

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
    #[error("{} holds no file of dataset {dataset}; looked for {wanted}, found {found}", path.display())]
    Nothing {
        /// The folder.
        path: PathBuf,
        /// Name of the dataset.
        dataset: String,
        /// Templates that were tried.
        wanted: String,
        /// What is there instead.
        found: String,
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
    let Contents { files, mut problems, passed_over } = contents(root)?;
    let mut listing = Listing { root: root.to_owned(), passed_over, ..Listing::default() };
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
    pass_over_the_rest(descriptor, &files, &problems, &mut listing);
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
            found: match listing.passed_over.is_empty() {
                true => "nothing".into(),
                false => listing.passed_over.to_string(),
            },
        });
    }
    listing.problems = problems;
    Ok(listing)
}

/// Counts the files that are in no pair, in no problem and no list.
fn pass_over_the_rest(descriptor: &Descriptor, files: &[String], problems: &[Problem], listing: &mut Listing) {
    let named: HashSet<&str> = problems.iter().map(|problem| problem.file.as_str()).collect();
    let paired: HashSet<&Path> =
        listing.pairs.iter().flat_map(|pair| pair.lq.iter().chain([&pair.gt])).map(PathBuf::as_path).collect();
    let sources = descriptor.splits.values().flat_map(|split| &split.sources);
    let lists: Vec<&str> =
        sources.flat_map(|source| &source.layouts).filter_map(|layout| layout.list.as_deref()).collect();
    let is_list = |file: &str| lists.iter().any(|list| file == *list || file.ends_with(&format!("/{list}")));
    for file in files {
        if !named.contains(file.as_str()) && !paired.contains(listing.root.join(file).as_path()) && !is_list(file) {
            listing.passed_over.file(file);
        }
    }
}

/// What lies below a folder.
#[derive(Default)]
struct Contents {
    /// Files, relative, with `/`, sorted.
    files: Vec<String>,
    /// Those that cannot be reached.
    problems: Vec<Problem>,
    passed_over: PassedOver,
}

fn contents(root: &Path) -> Result<Contents, ScanError> {
    let error = |message: String| ScanError::Folder { path: root.to_owned(), message };
    if !root.metadata().map_err(|e| error(e.to_string()))?.is_dir() {
        return Err(error("is not a folder".into()));
    }
    let Contents { mut files, mut problems, mut passed_over } = Contents::default();
    let shown = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/");
    let mut problem = |path: &Path, why: String| {
        problems.push(Problem::new("any", &shown(path), ProblemKind::Unreadable(why)));
    };
    let mut entries = walkdir::WalkDir::new(root).follow_links(true).into_iter();
    while let Some(entry) = entries.next() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(e) => {
                let path = e.path().unwrap_or(root);
                let gone = e.io_error().is_some_and(|e| e.kind() == std::io::ErrorKind::NotFound);
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                match unwanted(&name, false).filter(|_| e.depth() > 0) {
                    Some(kind) => passed_over.count(kind),
                    None if e.loop_ancestor().is_some() => passed_over.count(Kind::Circle),
                    // A link to what is not there.
                    None if gone && !is_image(&name) => passed_over.file(&name),
                    None => problem(path, e.to_string()),
                }
                continue;
            }
        };
        let name = entry.file_name().to_string_lossy();
        let is_folder = entry.file_type().is_dir();
        if let Some(kind) = unwanted(&name, is_folder).filter(|_| entry.depth() > 0) {
            passed_over.count(kind);
            if is_folder {
                entries.skip_current_dir();
            }
        } else if entry.file_type().is_file() {
            match entry.path().strip_prefix(root).map(Path::to_str) {
                Ok(Some(path)) => files.push(path.replace(std::path::MAIN_SEPARATOR, "/")),
                _ if is_image(&name) => problem(entry.path(), "its name is not UTF-8".into()),
                _ => passed_over.file(&name),
            }
        }
    }
    files.sort_unstable();
    Ok(Contents { files, problems, passed_over })
}
