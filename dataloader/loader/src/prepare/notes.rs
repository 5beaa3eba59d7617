//! Notes beside finished shards, for a preparation that is killed.

use defusion_datasets::{Problem, ProblemKind, ShardEntry, ShardManifest};
use serde::{Deserialize, Serialize};

use super::job::Job;
use super::{PrepareError, PrepareOptions};
use defusion_storage::Store;

const SUFFIX: &str = ".note.json";
const MAX_BYTES: u64 = 16 << 20;

/// Note of what went into a finished shard.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Note {
    digest: String,
    /// The shard; `None` if no image of it could be used.
    pub(crate) shard: Option<ShardEntry>,
    pub(crate) problems: Vec<LeftOut>,
}

/// An image that was left out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LeftOut {
    file: String,
    why: String,
}

impl LeftOut {
    pub(crate) fn problem(&self, split: &str) -> Problem {
        let kind = ProblemKind::Undecodable(self.why.clone());
        Problem { split: split.to_owned(), file: self.file.clone(), kind }
    }
}

/// Whether an object of this name is a note.
pub(crate) fn is_note(name: &str) -> bool {
    name.ends_with(SUFFIX)
}

fn name(shard: &str) -> String {
    format!("{}{SUFFIX}", shard.trim_end_matches(".parquet"))
}

pub(crate) fn write(
    store: &Store,
    job: &Job,
    shard: Option<&ShardEntry>,
    problems: &[Problem],
) -> Result<(), PrepareError> {
    let left_out = |p: &Problem| match &p.kind {
        ProblemKind::Undecodable(why) => LeftOut { file: p.file.clone(), why: why.clone() },
        _ => LeftOut { file: p.file.clone(), why: p.to_string() },
    };
    let note =
        Note { digest: job.digest.clone(), shard: shard.cloned(), problems: problems.iter().map(left_out).collect() };
    // Strings and integers only: writing them as JSON cannot fail.
    let json = serde_json::to_vec_pretty(&note).unwrap_or_default();
    Ok(store.put(&name(&job.file), json.into())?)
}

/// The note of each job whose shard is finished and there.
pub(crate) fn find(store: &Store, jobs: &[Job], options: &PrepareOptions) -> Result<Vec<Option<Note>>, PrepareError> {
    let there = store.list()?;
    let foreign = |file: &str| PrepareError::Foreign { url: store.url().into(), file: file.into() };
    let mut notes = Vec::with_capacity(jobs.len());
    for job in jobs {
        let mut note: Option<Note> = None;
        if there.contains(&name(&job.file)) {
            let bytes = store.get(&name(&job.file), MAX_BYTES)?;
            note = serde_json::from_slice(&bytes).ok();
            if note.as_ref().is_none_or(|note| note.digest != job.digest) {
                if !options.overwrite {
                    return Err(foreign(&job.file));
                }
                note = None;
            }
        }
        let sound = match note.as_ref().and_then(|note| note.shard.as_ref()) {
            Some(shard) => store.size(&shard.file)? == Some(shard.bytes),
            None => true,
        };
        notes.push(note.filter(|_| sound));
    }
    let beyond = |file: &&String| {
        file.ends_with(".parquet") && there.contains(&name(file)) && jobs.iter().all(|job| job.file != **file)
    };
    match there.iter().find(beyond) {
        Some(file) if !options.overwrite => Err(foreign(file)),
        _ => Ok(notes),
    }
}

/// Deletes the notes, and shards that the manifest does not name.
pub(crate) fn clean(store: &Store, manifest: &ShardManifest) -> Result<(), PrepareError> {
    for file in store.list()? {
        let ours = file.starts_with("part-");
        let stale = file.ends_with(".parquet") && manifest.shards.iter().all(|shard| shard.file != file);
        if ours && (stale || is_note(&file)) {
            store.delete(&file)?;
        }
    }
    Ok(())
}
