//! What the headers of the files say.

use std::path::Path;
use std::time::SystemTime;

use defusion_datasets::{Fit, Pair, Problem, ProblemKind};

use super::{PrepareOptions, Progress};
use crate::ordered::ordered_map;
use defusion_imaging::{ImageHeader, read_header};

/// A pair whose headers are sound.
#[derive(Clone, Debug)]
pub(crate) struct Inspected {
    pub(crate) pair: Pair,
    /// Decoded bytes of both images.
    pub(crate) bytes: u64,
    /// Size and time of both files: a resumed preparation notices files that have changed.
    pub(crate) stamp: [Option<(u64, u128)>; 2],
}

/// Reads all headers on all cores; pairs that cannot be used become problems.
pub(crate) fn inspect(
    pairs: Vec<Pair>,
    options: &PrepareOptions,
    problems: &mut Vec<Problem>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Vec<Inspected> {
    let total = pairs.len() as u64;
    let mut sound = Vec::with_capacity(pairs.len());
    let mut done = 0;
    let threads = options.threads();
    let result: Result<(), std::convert::Infallible> = ordered_map(
        threads,
        32 * threads,
        pairs.into_iter(),
        |pair| check(pair, options.max_pixels),
        |checked| {
            match checked {
                Ok(pair) => sound.push(pair),
                Err(problem) => problems.push(*problem),
            }
            done += 1;
            progress(Progress::Inspected { done, total });
            Ok(())
        },
    );
    let Ok(()) = result;
    sound
}

fn check(pair: Pair, limit: u64) -> Result<Inspected, Box<Problem>> {
    let problem =
        |path: &Path, kind| Box::new(Problem { split: pair.split.clone(), file: path.display().to_string(), kind });
    let header = |path: &Path| {
        let header = read_header(path).map_err(|e| problem(path, ProblemKind::Undecodable(e.reason())))?;
        let size = [header.width, header.height];
        match u64::from(header.width) * u64::from(header.height) > limit {
            true => Err(problem(path, ProblemKind::TooLarge { size, limit })),
            false => Ok(header),
        }
    };
    let gt = header(&pair.gt)?;
    let bytes = |h: ImageHeader| 3 * u64::from(h.width) * u64::from(h.height) * u64::from(h.bits / 8);
    let mut all = bytes(gt);
    if let Some(path) = &pair.lq {
        let lq = header(path)?;
        let fits = match pair.fit {
            Fit::Exact => (lq.width, lq.height) == (gt.width, gt.height),
            Fit::CentreCrop => lq.width <= gt.width && lq.height <= gt.height,
        };
        if !fits {
            let kind = ProblemKind::SizeMismatch { degraded: [lq.width, lq.height], clean: [gt.width, gt.height] };
            return Err(problem(path, kind));
        }
        all += bytes(lq);
    }
    let stamp = [pair.lq.as_deref().and_then(stamp), stamp(&pair.gt)];
    Ok(Inspected { bytes: all, stamp, pair })
}

fn stamp(path: &Path) -> Option<(u64, u128)> {
    let metadata = path.metadata().ok()?;
    let modified = metadata.modified().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some((metadata.len(), modified.as_nanos()))
}
