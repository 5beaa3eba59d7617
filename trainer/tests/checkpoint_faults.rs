//! Checkpoints when the store fails, a rank dies, or two jobs share a folder.

mod checkpoint_support;

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use checkpoint_support::{assert_same, checkpointer, options, save_all, snapshot};
use defusion_config::Stage;
use defusion_trainer::checkpoint::{CheckpointError, RunFolder, Store};
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::*;

/// A store in memory whose writes can fail, lie, or stop.
#[derive(Debug, Default)]
struct Faulty {
    inner: InMemory,
    /// Writes of objects whose name contains this fail...
    fail: Mutex<String>,
    /// ...this often.
    times: AtomicU32,
    /// Writes that such objects' content is silently changed for.
    corrupt: AtomicU32,
    /// Writes seen.
    writes: AtomicU64,
    /// Reads of objects whose name contains this fail.
    unreadable: Mutex<Option<String>>,
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

impl Faulty {
    fn set(&self, name: &str, times: u32, corrupt: u32) {
        *self.fail.lock().unwrap() = name.to_owned();
        self.times.store(times, Ordering::SeqCst);
        self.corrupt.store(corrupt, Ordering::SeqCst);
    }

    fn take(counter: &AtomicU32) -> bool {
        counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
    }
}

#[async_trait::async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, at: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        let hit = at.as_ref().contains(self.fail.lock().unwrap().as_str());
        if hit && Self::take(&self.times) {
            let source = "connection reset, see https://store/o?sig=SECRET".into();
            return Err(Error::Generic { store: "faulty", source });
        }
        if hit && Self::take(&self.corrupt) {
            let mut bytes = Bytes::from(payload).to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            return self.inner.put_opts(at, bytes.into(), options).await;
        }
        self.inner.put_opts(at, payload, options).await
    }

    async fn put_multipart_opts(&self, at: &Path, o: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, o).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        if self.unreadable.lock().unwrap().as_ref().is_some_and(|name| at.as_ref().contains(name)) {
            return Err(Error::Generic { store: "faulty", source: "timed out".into() });
        }
        self.inner.get_opts(at, options).await
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(at, ranges).await
    }

    fn delete_stream(&self, at: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(at)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn faulty() -> (Arc<Faulty>, RunFolder) {
    let store = Arc::new(Faulty::default());
    store.set("none", 0, 0);
    let folder = RunFolder::with_store(Store::new(store.clone(), Path::from("run"), "faulty://run")).unwrap();
    (store, folder)
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
        let attempt = folder.claim().unwrap();
        store.set(name, fail, corrupt);
        let saved = snapshot(Stage::Diffusion, 10, 1);
        let id = save_all(&folder, &attempt, 1, &saved);
        assert_eq!((store.times.load(Ordering::SeqCst), store.corrupt.load(Ordering::SeqCst)), (0, 0), "{name}");
        assert_same(&folder.load(id).unwrap(), &saved);
    }
}

#[test]
fn a_write_that_keeps_failing_is_reported_once_and_the_checkpoint_before_stays() {
    for (name, fail, corrupt) in [("optim-1of1", 99, 0), ("optim-1of1", 0, 99), ("manifest.json", 99, 0)] {
        let (store, folder) = faulty();
        let attempt = folder.claim().unwrap();
        let mut writer = checkpointer(&folder, &attempt, 0, 1, options());
        let good = writer.save(&snapshot(Stage::Diffusion, 10, 1)).unwrap();
        assert_eq!(writer.wait().unwrap(), Some(good));

        store.set(name, fail, corrupt);
        let bad = writer.save(&snapshot(Stage::Diffusion, 20, 2)).unwrap();
        let error = writer.wait().unwrap_err();
        assert!(matches!(error, CheckpointError::Store(_)), "{error}");
        let text = error.to_string();
        assert!(text.contains(name) && text.contains("faulty://run") && !text.contains("SECRET"), "{text}");
        assert_eq!(writer.wait().unwrap(), None);
        assert_eq!(folder.find_latest().unwrap().unwrap().id, good);

        // The store recovers: the same step can be saved, and the half-written one is gone or whole.
        store.set("none", 0, 0);
        assert_eq!(writer.save(&snapshot(Stage::Diffusion, 20, 2)).unwrap(), bad);
        assert_eq!(writer.wait().unwrap(), Some(bad));
        assert_same(&folder.load(bad).unwrap(), &snapshot(Stage::Diffusion, 20, 2));
    }
}

#[test]
fn a_failed_latest_json_does_not_lose_the_checkpoint() {
    let (store, folder) = faulty();
    let attempt = folder.claim().unwrap();
    let mut writer = checkpointer(&folder, &attempt, 0, 1, options());
    store.set("latest.json", 99, 0);
    let id = writer.save(&snapshot(Stage::Diffusion, 10, 1)).unwrap();
    writer.wait().unwrap_err();
    assert_eq!(folder.find_latest().unwrap().unwrap().id, id);
    store.set("none", 0, 0);
    let before = store.writes.load(Ordering::SeqCst);
    writer.save(&snapshot(Stage::Diffusion, 10, 1)).unwrap();
    assert_eq!(writer.wait().unwrap(), Some(id));
    assert_eq!(store.writes.load(Ordering::SeqCst), before + 1, "only latest.json was left to write");
}

#[test]
fn a_rank_that_never_comes_is_named() {
    let (_, folder) = faulty();
    let attempt = folder.claim().unwrap();
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
fn ranks_with_different_state_are_found_out() {
    let (_, folder) = faulty();
    let attempt = folder.claim().unwrap();
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
    let first = folder.claim().unwrap();
    let good = save_all(&folder, &first, 2, &snapshot(Stage::Diffusion, 10, 1));
    // Rank 1 was done with step 20, rank 0 was killed before it wrote anything.
    let mut killed = checkpointer(&folder, &first, 1, 2, options());
    let partial = killed.save(&snapshot(Stage::Diffusion, 20, 77)).unwrap();
    killed.wait().unwrap();
    assert_eq!(folder.find_latest().unwrap().unwrap().id, good);
    assert_eq!(folder.checkpoints().unwrap(), [good]);

    let second = folder.claim().unwrap();
    let state = snapshot(Stage::Diffusion, 20, 2);
    let again = save_all(&folder, &second, 2, &state);
    assert_ne!(again, partial);
    assert_same(&folder.load(again).unwrap(), &state);
    let runtime = folder.runtime();
    assert!(runtime.block_on(folder.store().list(&partial.folder())).unwrap().is_empty(), "the partial one is gone");
}

#[test]
fn the_older_of_two_jobs_stops_at_its_next_save() {
    let (_, folder) = faulty();
    let older = folder.claim().unwrap();
    save_all(&folder, &older, 1, &snapshot(Stage::Diffusion, 10, 1));
    let mut writer = checkpointer(&folder, &older, 0, 1, options());

    let newer = folder.claim().unwrap();
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
    let store = Store::new(Arc::new(InMemory::new()), Path::from("run"), "memory");
    let dir = tempfile::tempdir().unwrap();
    for store in [store, Store::open(&dir.path().display().to_string()).unwrap()] {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let store = store.clone();
                std::thread::spawn(move || RunFolder::with_store(store).unwrap().claim())
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
        let attempt = folder.claim().unwrap();
        save_all(&folder, &attempt, 1, &snapshot(Stage::Diffusion, 10, 1));
        save_all(&folder, &attempt, 1, &snapshot(Stage::Diffusion, 20, 1));
        *store.unreadable.lock().unwrap() = Some(format!("000000020-a0001/{name}"));
        assert!(matches!(folder.load_latest().unwrap_err(), CheckpointError::Store(_)), "{name}");
    }
}
