//! Where a step's time goes.

use std::ops::AddAssign;
use std::time::{Duration, Instant};

/// Seconds of one step by part. On CUDA these are the host's: work is enqueued, and only what waits shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// Forward passes, losses and moving the batch to the device.
    pub forward: f64,
    /// Backward passes, with the communication that they hide.
    pub backward: f64,
    /// Communication that backward did not hide.
    pub exposed_all_reduce: f64,
    /// Communication of gradients in all, hidden or not.
    pub all_reduce: f64,
    /// Clipping, optimizer, moving average.
    pub optimizer: f64,
}

impl AddAssign for Times {
    fn add_assign(&mut self, other: Self) {
        self.forward += other.forward;
        self.backward += other.backward;
        self.exposed_all_reduce += other.exposed_all_reduce;
        self.all_reduce += other.all_reduce;
        self.optimizer += other.optimizer;
    }
}

/// A clock that is read at the end of each part.
#[derive(Debug)]
pub struct Clock {
    last: Instant,
    /// What was read.
    pub times: Times,
}

impl Clock {
    /// Starts it.
    pub fn start() -> Self {
        Self { last: Instant::now(), times: Times::default() }
    }

    /// Everything since the last reading was forward.
    pub fn forward(&mut self) {
        self.times.forward += self.lap().as_secs_f64();
    }

    /// Time since the last reading; the next one begins.
    pub(super) fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now - std::mem::replace(&mut self.last, now)
    }
}
