//! Checkpoints when the store fails, a rank dies, or two jobs share a folder.

use std::sync::Arc;
use std::time::Duration;

use defusion_checkpoint::{CheckpointError, RunFolder, Snapshot};
use defusion_config::Stage;
use defusion_storage::testing::Faulty;
use defusion_storage::{Retry, Store};

use crate::support::{assert_same, checkpointer, options, save_all, snapshot};

fn faulty() -> (Arc<Faulty>, RunFolder) {
    let store = Arc::new(Faulty::default());
    let folder = Store::over(store.clone(), "run".into(), "faulty://run").with_retry(Retry::NONE);
    (store, RunFolder::with_store(folder))
}

#[test]
fn a_write_that_fails_or_lies_is_tried_again() {
    for (name, fail, corrupt) in [
        ("model-1of1", 2, 0),
        ("model-1of1", 0, 2),
        ("ema-1of1", 1, 1),
        ("part-1of1", 1, 1),
        ("manifest.json", 2, 0),
        ("manifest.json", 0, 2),
        ("latest.json", 1, 1),
    ] {
        let (store, folder) = faulty();
        let attempt = folder.claim("digest").unwrap();
        store.fail_writes(name, fail, corrupt);
        let saved = snapshot(Stage::Diffusion, 10, 1);
        let id = save_all(&folder, &attempt, 1, &saved);
        assert_eq!(store.faults_left(), 0, "{name}");
        assert_same(&folder.load(id).unwrap(), &saved);
    }
}

#[test]
fn a_write_that_keeps_failing_is_reported_once_and_the_checkpoint_before_stays() {
    for (name, fail, corrupt) in [("optim-1of1", 99, 0), ("optim-1of1", 0, 99), ("manifest.json", 99, 0)] {
        let (store, folder) = faulty();
        let attempt = folder.claim("digest").unwrap();
        let mut writer = checkpointer(&folder, &attempt, 0, 1, options());
        let good = writer.save(&snapshot(Stage::Diffusion, 10, 1)).unwrap();
        assert_eq!(writer.wait().unwrap(), Some(good));

        store.fail_writes(name, fail, corrupt);
        let bad = writer.save(&snapshot(Stage::Diffusion, 20, 2)).unwrap();
        let error = writer.wait().unwrap_err();
        assert!(matches!(error, CheckpointError::Store(_)), "{error}");
        let text = error.to_string();
        assert!(text.contains(name) && text.contains("faulty://run") && !text.contains(store.secret()), "{text}");
        assert_eq!(writer.wait().unwrap(), None);
        assert_eq!(folder.load_latest().unwrap().unwrap().0.id, good);

        // The store recovers: the same step can be saved, and the half-written one is gone or whole.
        store.fail_writes("none", 0, 0);
        assert_eq!(writer.save(&snapshot(Stage::Diffusion, 20, 2)).unwrap(), bad);
        assert_eq!(writer.wait().unwrap(), Some(bad));
        assert_same(&folder.load(bad).unwrap(), &snapshot(Stage::Diffusion, 20, 2));
    }
}

#[test]
fn a_failed_latest_json_does_not_lose_the_checkpoint() {
    let (store, folder) = faulty();
    let attempt = folder.claim("digest").unwrap();
    let mut writer = checkpointer(&folder, &attempt, 0, 1, options());
    store.fail_writes("latest.json", 99, 0);
    let id = writer.save(&snapshot(Stage::Diffusion, 10, 1)).unwrap();
    writer.wait().unwrap_err();
    assert_eq!(folder.load_latest().unwrap().unwrap().0.id, id);
    store.fail_writes("none", 0, 0);
    let before = store.writes();
    writer.save(&snapshot(Stage::Diffusion, 10, 1)).unwrap();
    assert_eq!(writer.wait().unwrap(), Some(id));
    assert_eq!(store.writes(), before + 1, "only latest.json was left to write");
}

#[test]
fn a_rank_that_never_comes_is_named() {
    let (_, folder) = faulty();
    let attempt = folder.claim("digest").unwrap();
    let mut short = options();
    short.part_timeout = Duration::from_millis(50);
    let mut lead = checkpointer(&folder, &attempt, 0, 3, short);
    let mut third = checkpointer(&folder, &attempt, 2, 3, short);
    let state = snapshot(Stage::Diffusion, 10, 1);
    third.save(&state).unwrap();
    third.wait().unwrap().unwrap();
    let id = lead.save(&state).unwrap();
    match lead.wait().unwrap_err() {
        CheckpointError::MissingParts { checkpoint, ranks, .. } => assert_eq!((checkpoint, ranks), (id, vec![1])),
        error => panic!("{error}"),
    }
    assert!(folder.load_latest().unwrap().is_none());
}

#[test]
fn an_abandoned_save_makes_no_checkpoint() {
    let (_, folder) = faulty();
    let attempt = folder.claim("digest").unwrap();
    let state = snapshot(Stage::Diffusion, 10, 1);
    let mut lead = checkpointer(&folder, &attempt, 0, 2, options());
    lead.save(&state).unwrap();
    drop(lead);
    let mut second = checkpointer(&folder, &attempt, 1, 2, options());
    second.save(&state).unwrap();
    second.wait().unwrap();
    // Several times as long as rank 0 waits between two looks for the second's part.
    std::thread::sleep(10 * options().part_poll);
    assert!(folder.checkpoints().unwrap().is_empty());
}

#[test]
fn ranks_with_different_state_are_found_out() {
    let (_, folder) = faulty();
    let attempt = folder.claim("digest").unwrap();
    let mut ranks = [0, 1].map(|rank| checkpointer(&folder, &attempt, rank, 2, options()));
    let mut other = snapshot(Stage::Diffusion, 10, 1);
    other.insert("model", [("extra", tch::Tensor::from(1f32))]);
    ranks[1].save(&other).unwrap();
    ranks[1].wait().unwrap();
    ranks[0].save(&snapshot(Stage::Diffusion, 10, 1)).unwrap();
    let error = ranks[0].wait().unwrap_err().to_string();
    assert!(error.contains("part-2of2.json") && error.contains("rank 1 holds"), "{error}");
}

#[test]
fn what_a_killed_job_left_is_neither_used_nor_mixed_in_and_goes_in_the_end() {
    let (_, folder) = faulty();
    let first = folder.claim("digest").unwrap();
    let good = save_all(&folder, &first, 2, &snapshot(Stage::Diffusion, 10, 1));
    // Rank 1 was done with step 20, rank 0 was killed before it wrote anything.
    let mut killed = checkpointer(&folder, &first, 1, 2, options());
    let partial = killed.save(&snapshot(Stage::Diffusion, 20, 77)).unwrap();
    killed.wait().unwrap();
    assert_eq!(folder.load_latest().unwrap().unwrap().0.id, good);
    assert_eq!(folder.checkpoints().unwrap(), [good]);

    let second = folder.claim("digest").unwrap();
    let state = snapshot(Stage::Diffusion, 20, 2);
    let again = save_all(&folder, &second, 2, &state);
    assert_ne!(again, partial);
    assert_same(&folder.load(again).unwrap(), &state);
    let left = folder.store().folder(&partial.folder()).unwrap().sizes().unwrap();
    assert!(left.is_empty(), "the partial one is gone");
}

#[test]
fn the_older_of_two_jobs_stops_at_its_next_save() {
    let (_, folder) = faulty();
    let older = folder.claim("digest").unwrap();
    save_all(&folder, &older, 1, &snapshot(Stage::Diffusion, 10, 1));
    let mut writer = checkpointer(&folder, &older, 0, 1, options());

    let newer = folder.claim("digest").unwrap();
    assert_eq!((older.number, newer.number), (1, 2));
    let lost = writer.save(&snapshot(Stage::Diffusion, 20, 1)).unwrap();
    match writer.wait().unwrap_err() {
        CheckpointError::LostOwnership { ours, by, .. } => {
            assert_eq!(ours, 1);
            assert!(by.contains("attempt 2") && by.contains(&std::process::id().to_string()), "{by}");
        }
        error => panic!("{error}"),
    }
    assert!(folder.checkpoints().unwrap().iter().all(|id| *id != lost));
    folder.check_ownership(&newer).unwrap();
    assert!(matches!(folder.check_ownership(&older).unwrap_err(), CheckpointError::LostOwnership { .. }));
}

#[test]
fn starts_that_race_get_different_attempts() {
    let store = Store::at("memory://starts-that-race/run").unwrap();
    let dir = tempfile::tempdir().unwrap();
    for store in [store, Store::open(&dir.path().display().to_string()).unwrap()] {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let store = store.clone();
                std::thread::spawn(move || RunFolder::with_store(store).claim("digest"))
            })
            .collect();
        // A slower starter may already see that a faster one has taken over: that is an answer too.
        let mut numbers: Vec<u32> = Vec::new();
        for thread in threads {
            match thread.join().unwrap() {
                Ok(attempt) => numbers.push(attempt.number),
                Err(CheckpointError::LostOwnership { ours, .. }) => numbers.push(ours),
                Err(error) => panic!("{error}"),
            }
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=8).collect::<Vec<_>>());
    }
}

#[test]
fn a_store_that_cannot_be_read_never_means_an_older_checkpoint() {
    for name in ["manifest.json", "ema-1of1"] {
        let (store, folder) = faulty();
        let attempt = folder.claim("digest").unwrap();
        save_all(&folder, &attempt, 1, &snapshot(Stage::Diffusion, 10, 1));
        save_all(&folder, &attempt, 1, &snapshot(Stage::Diffusion, 20, 1));
        store.fail_reads(&format!("000000020-a0001/{name}"), u32::MAX);
        assert!(matches!(folder.load_latest().unwrap_err(), CheckpointError::Store(_)), "{name}");
    }
}

#[test]
fn parts_are_whole_files_and_each_is_read_once() {
    let (store, folder) = faulty();
    let attempt = folder.claim("digest").unwrap();
    let saved = snapshot(Stage::Diffusion, 10, 1);
    let id = save_all(&folder, &attempt, 2, &saved);
    let reads = |load: &dyn Fn()| {
        let before = store.reads();
        load();
        store.reads() - before
    };
    // Looking at the manifest and the files' sizes comes with every part.
    let look = reads(&|| assert_eq!(folder.newest_whole(&mut Vec::new()).unwrap(), Some(id)));
    let all = reads(&|| drop(folder.load(id).unwrap())) - look;
    for parts in [1, 2, 3, 20] {
        let mut joined = Snapshot::new(Stage::Diffusion, 10);
        joined.scalars = saved.scalars.clone();
        let mut count = 0;
        for part in 0..parts {
            count += reads(&|| drop(folder.load_part(id, part, parts).unwrap())) - look;
            for (group, tensors) in folder.load_part(id, part, parts).unwrap().groups {
                for (name, tensor) in tensors {
                    let before = joined.groups.entry(group.clone()).or_default().insert(name, tensor);
                    assert!(before.is_none());
                }
            }
        }
        assert_eq!(count, all, "{parts} parts");
        assert_same(&joined, &saved);
    }
}
