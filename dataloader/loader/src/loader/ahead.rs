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
                let slice = shared.slice;
                let taken = shared.taken.load(Ordering::Relaxed);
                if n < (taken + 1) * slice.len + SAMPLES {
                    let step = slice.start_step + n / slice.len;
                    shared.sampler.prefetch(slice.first(step) + n % slice.len);
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
