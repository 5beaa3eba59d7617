//! How long a rank waits for others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A limit on waiting that may be changed while others wait by it. Clones share one value.
#[derive(Clone)]
pub(crate) struct Timeout {
    /// Milliseconds; 0: for ever.
    millis: Arc<AtomicU64>,
}

impl Timeout {
    /// Makes a limit; `None` stands for waiting for ever.
    pub fn new(limit: Option<Duration>) -> Self {
        let timeout = Self { millis: Arc::default() };
        timeout.set(limit);
        timeout
    }

    /// Changes the limit on all clones.
    pub fn set(&self, limit: Option<Duration>) {
        self.millis.store(limit.map_or(0, |d| (d.as_millis() as u64).max(1)), Ordering::Relaxed);
    }

    /// Returns the limit of the moment.
    pub fn get(&self) -> Option<Duration> {
        match self.millis.load(Ordering::Relaxed) {
            0 => None,
            limit => Some(Duration::from_millis(limit)),
        }
    }
}
