//! Pairs listed in a CSV: for sets without a known layout.

use std::path::Path;

use defusion_config::Degradation;
use serde::Deserialize;

use crate::{Fit, Listing, Pair, Problem, ProblemKind, ScanError};

#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    lq: String,
    gt: String,
    #[serde(default)]
    task: String,
    split: String,
}

/// Reads the pairs of a CSV with the columns `lq,gt,task,split`.
///
/// Paths are absolute or relative to the CSV's folder. An empty `lq` is a clean image. `task` names the categories of
/// the degraded image in order, `+` between them (`rain+raindrop`).
///
/// # Errors
/// [`ScanError::Folder`] if the file cannot be read or its header lacks a column. Single bad lines are problems of the
/// listing.
pub fn scan_csv(path: &Path) -> Result<Listing, ScanError> {
    let error = |e: &dyn std::fmt::Display| ScanError::Folder { path: path.to_owned(), message: e.to_string() };
    let root = path.parent().unwrap_or(Path::new("."));
    let shown = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path).map_err(|e| error(&e))?;
    let header = reader.headers().map_err(|e| error(&e))?;
    if let Some(missing) = ["lq", "gt", "task", "split"].iter().find(|name| !header.iter().any(|h| h == **name)) {
        return Err(error(&format!("has no column `{missing}`; its first line must be lq,gt,task,split")));
    }
    let mut listing = Listing { root: root.to_owned(), ..Listing::default() };
    for (n, row) in reader.deserialize::<Row>().enumerate() {
        let at = format!("line {}", n + 2);
        match row.map_err(|e| e.to_string()).and_then(|row| pair(root, row)) {
            Ok(pair) => {
                let gone = pair.lq.iter().chain([&pair.gt]).find(|file| !file.is_file());
                match gone.map(|file| file.display().to_string()) {
                    Some(file) => listing.problems.push(Problem::new(&pair.split, &file, ProblemKind::Missing)),
                    None => listing.pairs.push(pair),
                }
            }
            Err(why) => listing.problems.push(Problem::new("any", &shown, ProblemKind::Line(format!("{at}: {why}")))),
        }
    }
    listing.pairs.sort_by(|a, b| (&a.split, &a.key).cmp(&(&b.split, &b.key)));
    for twins in listing.pairs.windows(2).filter(|w| (&w[0].split, &w[0].key) == (&w[1].split, &w[1].key)) {
        listing.problems.push(Problem::new(&twins[0].split, &twins[0].key, ProblemKind::Duplicate));
    }
    listing.pairs.dedup_by(|a, b| a.split == b.split && a.key == b.key);
    Ok(listing)
}

fn pair(root: &Path, row: Row) -> Result<Pair, String> {
    if row.gt.is_empty() {
        return Err("gt is empty".into());
    }
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if row.split.is_empty() || !row.split.bytes().all(plain) {
        return Err(format!("split `{}` must be lower-case letters, digits and `_`", row.split));
    }
    let names = row.task.split('+').map(str::trim).filter(|name| !name.is_empty());
    let degradations: Vec<Degradation> =
        names.map(|name| name.parse().map_err(|e| format!("task: {e}"))).collect::<Result<_, String>>()?;
    if row.lq.is_empty() != degradations.is_empty() {
        return Err("a degraded image needs a task, and a clean one has none".into());
    }
    let key = if row.lq.is_empty() { &row.gt } else { &row.lq };
    Ok(Pair {
        key: key.clone(),
        split: row.split,
        degradations,
        lq: (!row.lq.is_empty()).then(|| root.join(&row.lq)),
        gt: root.join(&row.gt),
        fit: Fit::Exact,
    })
}
