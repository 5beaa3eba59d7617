//! Where the time of the steps since the last log line went.

use std::time::Instant;

use crate::stage::Times;

/// Sums over the steps since the last log line.
#[derive(Debug)]
pub struct Throughput {
    since: Instant,
    samples: usize,
    steps: u32,
    times: Times,
    waited_before: f64,
    waited: f64,
}

impl Throughput {
    /// Starts the clock.
    pub fn new() -> Self {
        Self { since: Instant::now(), samples: 0, steps: 0, times: Times::default(), waited_before: 0.0, waited: 0.0 }
    }

    /// One more step, of `samples` over all workers; `waited` is the loader's sum of waiting since it was opened, seconds.
    pub fn step(&mut self, samples: usize, times: Times, waited: f64) {
        self.samples += samples;
        self.steps += 1;
        self.times += times;
        self.waited = waited;
    }

    /// Samples per second, the share of time spent waiting for data, and seconds per step by part; restarts the clock.
    pub fn take(&mut self) -> Vec<(&'static str, f64)> {
        let wall = self.since.elapsed().as_secs_f64().max(1e-9);
        let waited = self.waited - self.waited_before;
        let per_step = |seconds: f64| seconds / f64::from(self.steps.max(1));
        let entries = vec![
            ("samples_per_s", self.samples as f64 / wall),
            ("data_wait", waited / wall),
            ("step_s", per_step(wall)),
            ("data_wait_s", per_step(waited)),
            ("forward_s", per_step(self.times.forward)),
            ("backward_s", per_step(self.times.backward)),
            ("exposed_all_reduce_s", per_step(self.times.exposed_all_reduce)),
            ("optimizer_s", per_step(self.times.optimizer)),
        ];
        *self = Self { waited_before: self.waited, waited: self.waited, ..Self::new() };
        entries
    }
}
