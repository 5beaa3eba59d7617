//! Decoding, packing and writing.

use defusion_datasets::{Fit, Problem, ProblemKind, ShardEntry};

use super::inspect::Inspected;
use super::job::Job;
use super::notes::{self, Note};
use super::{PrepareError, PrepareOptions, Progress};
use crate::ordered::ordered_map;
use crate::shard::{EncodedRow, RowMeta, ShardWriter};
use defusion_imaging::read_pixels;
use defusion_storage::Store;

/// What was packed.
#[derive(Default)]
pub(crate) struct Packed {
    pub(crate) shards: Vec<ShardEntry>,
    pub(crate) problems: Vec<Problem>,
    /// Shards found finished.
    pub(crate) reused: usize,
}

/// A shard that is being written.
struct Open {
    writer: ShardWriter,
    problems: Vec<Problem>,
}

/// Packs the pairs of every job that has no note, and writes its shard and its note.
pub(crate) fn pack(
    store: &Store,
    jobs: &[Job],
    done: &[Option<Note>],
    options: &PrepareOptions,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Packed, PrepareError> {
    let total: u64 = jobs.iter().map(|job| job.pairs.len() as u64).sum();
    let mut packed = Packed::default();
    let mut entries: Vec<Option<ShardEntry>> = vec![None; jobs.len()];
    let mut count = 0;
    for ((job, note), entry) in jobs.iter().zip(done).zip(&mut entries) {
        if let Some(note) = note {
            packed.reused += 1;
            packed.problems.extend(note.problems.iter().map(|p| p.problem(&job.split)));
            entry.clone_from(&note.shard);
            count += job.pairs.len() as u64;
        }
    }
    progress(Progress::Packed { done: count, total });
    let threads = options.threads();
    let todo = jobs.iter().enumerate().filter(|(n, _)| done[*n].is_none());
    let rows = todo.flat_map(|(n, job)| job.pairs.iter().enumerate().map(move |(k, pair)| (n, k, pair)));
    let mut open: Option<Open> = None;
    let work = |(n, k, pair): (usize, usize, &Inspected)| (n, k, encode(pair, options));
    ordered_map(threads, 2 * threads + 2, rows, work, |(n, k, row)| -> Result<(), PrepareError> {
        let job = &jobs[n];
        let failed = |source| PrepareError::Pack { file: store.url_of(&job.file), source };
        let mut shard = match open.take() {
            Some(shard) => shard,
            None => {
                Open { writer: ShardWriter::new(options.tile, options.codec).map_err(failed)?, problems: Vec::new() }
            }
        };
        match row {
            Ok(row) => shard.writer.push(&row).map_err(failed)?,
            Err(problem) => shard.problems.push(*problem),
        }
        count += 1;
        progress(Progress::Packed { done: count, total });
        if k + 1 < job.pairs.len() {
            open = Some(shard);
            return Ok(());
        }
        packed.problems.extend(shard.problems.iter().cloned());
        if shard.problems.is_empty() || options.leave_out_problems {
            entries[n] = write(store, job, shard)?;
        }
        Ok(())
    })?;
    packed.shards = entries.into_iter().flatten().collect();
    Ok(packed)
}

fn write(store: &Store, job: &Job, shard: Open) -> Result<Option<ShardEntry>, PrepareError> {
    let finished =
        shard.writer.finish().map_err(|source| PrepareError::Pack { file: store.url_of(&job.file), source })?;
    // Nothing left of it: no file, but a note, so that a resumed preparation knows.
    let entry = (finished.rows > 0).then(|| ShardEntry {
        file: job.file.clone(),
        split: job.split.clone(),
        rows: finished.rows,
        bytes: finished.bytes.len() as u64,
        sha256: finished.sha256,
    });
    if entry.is_some() {
        store.put(&job.file, finished.bytes)?;
    }
    notes::write(store, job, entry.as_ref(), &shard.problems)?;
    Ok(entry)
}

fn encode(inspected: &Inspected, options: &PrepareOptions) -> Result<EncodedRow, Box<Problem>> {
    let pair = &inspected.pair;
    let problem = |path: &std::path::Path, why: String| {
        let kind = ProblemKind::Undecodable(why);
        Box::new(Problem { split: pair.split.clone(), file: path.display().to_string(), kind })
    };
    let decode = |path: &std::path::Path| read_pixels(path, options.max_pixels).map_err(|e| problem(path, e.reason()));
    let mut gt = decode(&pair.gt)?;
    let lq = pair.lq.as_deref().map(decode).transpose()?;
    if let (Some(lq), Fit::CentreCrop) = (&lq, pair.fit) {
        let why = || problem(&pair.gt, "is smaller than its degraded image".into());
        gt = gt.centre_crop(lq.width(), lq.height()).ok_or_else(why)?;
    }
    let meta = RowMeta { key: pair.key.clone(), split: pair.split.clone(), degradations: pair.degradations.clone() };
    EncodedRow::new(meta, &gt, lq.as_ref(), options.tile, options.codec)
        .map_err(|e| problem(pair.lq.as_deref().unwrap_or(&pair.gt), e.to_string()))
}
