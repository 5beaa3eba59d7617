//! Fetching remote shards before samples need them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Shared;

/// Samples of a rank whose shards are fetched ahead.
const SAMPLES: u64 = 512;
/// Shards fetched at a time.
const THREADS: u64 = 4;
/// How often a thread that is far enough ahead looks again.
const PAUSE: Duration = Duration::from_millis(20);

/// Starts the threads; they end on their own once the loader is gone.
pub(super) fn start(shared: &Arc<Shared>) -> std::io::Result<()> {
    let next = Arc::new(AtomicU64::new(0));
    for n in 0..THREADS {
        // Weak: a loader that is dropped must not be kept alive from here.
        let (shared, next) = (Arc::downgrade(shared), next.clone());
        let thread = std::thread::Builder::new().name(format!("fetch-{n}"));
        let work = move || {
            let mut n = next.fetch_add(1, Ordering::Relaxed);
            while let Some(shared) = shared.upgrade() {
                if shared.stop.load(Ordering::Relaxed) {
                    return;
                }
                let len = shared.share.computed();
                let taken = shared.taken.load(Ordering::Relaxed);
                if n < (taken + 1) * len + SAMPLES {
                    let rows = shared.share.rows(shared.start_step + n / len);
                    shared.sampler.prefetch(rows.start + n % len);
                    n = next.fetch_add(1, Ordering::Relaxed);
                } else {
                    drop(shared);
                    std::thread::sleep(PAUSE);
                }
            }
        };
        thread.spawn(work)?;
    }
    Ok(())
}
