//! Which checkpoints stay.

use std::collections::BTreeSet;

use defusion_config::Stage;
use defusion_storage::Store;

use crate::names::{CheckpointId, MANIFEST};
use crate::{CheckpointError, reader};

/// The checkpoints that are kept. Only checkpoints that are whole (manifest there, every file with its size, not found damaged) count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keep {
    /// Newest ones kept, at least 1.
    pub newest: u32,
    /// Multiples of this step are kept for ever; 0: none.
    pub every: u64,
}

/// State of a folder under `checkpoints/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Whole,
    /// Has a manifest that does not hold.
    Damaged,
    /// Has no manifest.
    Partial,
}

/// Those of `all` (newest first) that go, once `saved` is whole: everything older than the newest `keep.newest` whole ones,
/// except multiples of `keep.every` and the newest whole one of each stage (it is that stage's result); and what
/// attempts before this one, or this one before `saved`, left unfinished. A damaged one goes only when enough newer ones
/// are whole.
fn doomed(all: &[(CheckpointId, State)], saved: CheckpointId, keep: Keep) -> Vec<CheckpointId> {
    let mut whole = 0;
    let mut stages: BTreeSet<Stage> = BTreeSet::new();
    let mut out = Vec::new();
    for &(id, state) in all {
        let enough = whole >= keep.newest.max(1);
        let goes = match state {
            // Higher attempts belong to whoever took the folder over.
            State::Partial => id.attempt < saved.attempt || (id.attempt == saved.attempt && id < saved),
            State::Damaged => enough,
            State::Whole => {
                whole += 1;
                let result = stages.insert(id.stage);
                let for_ever = keep.every > 0 && id.step.is_multiple_of(keep.every);
                enough && !result && !for_ever && id != saved
            }
        };
        if goes {
            out.push(id);
        }
    }
    out
}

/// Removes what [`Keep`] does not keep. `known_damaged` were found so when loading.
///
/// # Errors
/// [`CheckpointError::Store`].
pub(crate) fn sweep(
    store: &Store,
    saved: CheckpointId,
    keep: Keep,
    known_damaged: &BTreeSet<CheckpointId>,
) -> Result<(), CheckpointError> {
    let mut all = Vec::new();
    for id in reader::folders(store)? {
        let state = match reader::inspect(store, id) {
            Ok(Some(_)) if known_damaged.contains(&id) => State::Damaged,
            Ok(Some(_)) => State::Whole,
            Ok(None) => State::Partial,
            Err(CheckpointError::Damaged { .. }) => State::Damaged,
            Err(error) => return Err(error),
        };
        all.push((id, state));
    }
    for id in doomed(&all, saved, keep) {
        tracing::info!("removing checkpoint {id}");
        // The manifest first: what is half removed is then no checkpoint.
        store.delete(&id.object(MANIFEST))?;
        store.folder(&id.folder())?.delete_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::State::{Damaged, Partial, Whole};
    use super::*;

    fn id(stage: Stage, step: u64, attempt: u32) -> CheckpointId {
        CheckpointId { stage, step, attempt }
    }

    fn removed(steps: &[(u64, u32, State)], keep: Keep) -> Vec<u64> {
        let all: Vec<_> = steps.iter().map(|&(step, a, state)| (id(Stage::Diffusion, step, a), state)).collect();
        let saved = all.iter().find(|(_, s)| *s == Whole).unwrap().0;
        doomed(&all, saved, keep).iter().map(|id| id.step).collect()
    }

    #[test]
    fn newest_and_multiples_stay() {
        let keep = Keep { newest: 2, every: 100 };
        let all = [(250, 1, Whole), (200, 1, Whole), (150, 1, Whole), (100, 1, Whole), (50, 1, Whole)];
        assert_eq!(removed(&all, keep), [150, 50]);
        assert_eq!(removed(&all, Keep { newest: 0, every: 0 }), [200, 150, 100, 50]);
    }

    #[test]
    fn only_whole_ones_count() {
        let keep = Keep { newest: 2, every: 0 };
        let all =
            [(50, 3, Whole), (40, 3, Damaged), (30, 3, Partial), (20, 2, Whole), (15, 2, Damaged), (10, 2, Whole)];
        assert_eq!(removed(&all, keep), [30, 15, 10]);
    }

    #[test]
    fn unfinished_ones_of_later_attempts_stay() {
        let keep = Keep { newest: 1, every: 0 };
        let all = [(60, 2, Partial), (50, 3, Partial), (50, 2, Whole), (40, 1, Partial), (40, 2, Partial)];
        assert_eq!(removed(&all, keep), [40, 40]);
    }

    #[test]
    fn a_finished_stage_keeps_its_result() {
        let all = [
            (id(Stage::Diffusion, 20, 1), Whole),
            (id(Stage::Diffusion, 10, 1), Whole),
            (id(Stage::Tokenizer, 100, 1), Whole),
            (id(Stage::Tokenizer, 90, 1), Whole),
        ];
        let gone = doomed(&all, all[0].0, Keep { newest: 1, every: 0 });
        assert_eq!(gone, [all[1].0, all[3].0]);
    }
}
