//! Waiting for checkpoints on their way to the store: all ranks together, and with signs of life.

use std::time::{Duration, Instant};

use defusion_checkpoint::Checkpointer;

/// A wait that takes longer than this counts as a hang. Each operation on the store ends within an hour, retries included
/// (`defusion_storage::Retry`), so only a file system that never answers gets here.
const LONGEST: Duration = Duration::from_secs(2 * 3600);
/// Longest pause between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Waits until no rank has an upload under way. `any` tells whether a flag is set on any rank; all ranks call this at once,
/// and leave it at once: a rank that went on alone would wait in a collective, whose time is limited, for one whose store is
/// slow. `alive` is called at every look.
///
/// # Errors
/// Those of `any`.
pub(super) fn wait_for_uploads<E>(
    checkpointer: &Checkpointer,
    any: impl Fn(bool) -> Result<bool, E>,
    mut alive: impl FnMut(),
) -> Result<(), E> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(5);
    // Past the limit this rank blocks in the checkpointer, silently, and the launcher ends it.
    while any(checkpointer.busy() && start.elapsed() < LONGEST)? {
        alive();
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSE);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;
    use std::sync::Arc;

    use defusion_checkpoint::{CheckpointOptions, RunFolder, Snapshot};
    use defusion_config::{Checkpoints, Resolved, Stage};
    use defusion_storage::testing::Faulty;
    use defusion_storage::{Retry, Store};
    use tch::{Device, Kind, Tensor};

    use super::*;

    #[test]
    fn a_wait_for_a_slow_store_is_full_of_signs_of_life() {
        let slow = Arc::new(Faulty::default());
        let folder =
            RunFolder::with_store(Store::over(slow.clone(), "run".into(), "faulty://run").with_retry(Retry::NONE));
        let recipe = "{name: t, run: r, data: {shards: s, datasets: [{name: d}]}, tokenizer: {perceptual_weight: 0}}";
        let config = Resolved::parse(recipe, "t.yaml".as_ref(), &[]).unwrap();
        let attempt = folder.claim(&folder.enter(&config).unwrap()).unwrap();
        let options = CheckpointOptions::from(&Checkpoints::default());
        let mut checkpointer = Checkpointer::new(folder.clone(), attempt, 0, 1, options);
        let mut snapshot = Snapshot::new(Stage::Diffusion, 3);
        snapshot.insert("model", [("w", Tensor::zeros([8], (Kind::Float, Device::Cpu)))]);

        slow.hold_writes(true);
        checkpointer.save(&snapshot).unwrap();
        let beats = Cell::new(0);
        let alone = |busy| Ok::<bool, Infallible>(busy);
        wait_for_uploads(&checkpointer, alone, || {
            beats.set(beats.get() + 1);
            // The store is stuck for as long as it takes to see that signs of life go on.
            slow.hold_writes(beats.get() < 5);
        })
        .unwrap();
        assert!(beats.get() >= 5, "{} signs of life", beats.get());
        assert_eq!(checkpointer.poll().unwrap().map(|id| id.step), Some(3));
        assert!(folder.load_latest().unwrap().is_some());
    }

    #[test]
    fn a_rank_waits_for_the_others_uploads_too() {
        let folder = tempfile::tempdir().unwrap();
        let folder = RunFolder::open(&folder.path().display().to_string()).unwrap();
        let recipe = "{name: t, run: r, data: {shards: s, datasets: [{name: d}]}, tokenizer: {perceptual_weight: 0}}";
        let config = Resolved::parse(recipe, "t.yaml".as_ref(), &[]).unwrap();
        let attempt = folder.claim(&folder.enter(&config).unwrap()).unwrap();
        let options = CheckpointOptions::from(&Checkpoints::default());
        let idle = Checkpointer::new(folder, attempt, 1, 2, options);
        let (looks, beats) = (Cell::new(0), Cell::new(0));
        let another_is_busy = |own: bool| {
            assert!(!own);
            looks.set(looks.get() + 1);
            Ok::<bool, Infallible>(looks.get() <= 3)
        };
        wait_for_uploads(&idle, another_is_busy, || beats.set(beats.get() + 1)).unwrap();
        assert_eq!((looks.get(), beats.get()), (4, 3));
    }
}
