//! Batches, made ahead of need by threads of their own.
//!
//! Step `s` takes the samples `[s * B, (s + 1) * B)` of the [plan](crate::plan); rank `r` of `n` takes those from
//! `s * B + floor(r * B / n)` to before `s * B + floor((r + 1) * B / n)`, which may be none. Samples are pure functions of their number, so a batch is the same bytes at any number of threads, any
//! prefetch, and after any resume.
//!
//! Two coordinators build batches in turn, straight in the batch's own memory, their samples spread over one pool of
//! threads: while the last samples of one batch are made, the next has begun. Each hands its batches over through a
//! bounded queue; the consumer takes from them alternately, which keeps the order.

mod ahead;
mod batch;
mod error;
mod pad;
mod sample;
mod share;
mod siblings;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use defusion_config::{Config, Stage};
use rayon::prelude::*;

pub use batch::{Batch, Label};
pub use error::LoadError;
pub(crate) use sample::SPLIT;
use sample::Sampler;
use share::Share;

use crate::plan::SamplingPlan;

/// The batches of one rank, in order, made ahead of need. Dropping it ends its threads.
#[derive(Debug)]
pub struct Loader {
    queues: Vec<Receiver<Result<Batch, LoadError>>>,
    turn: usize,
    shared: Arc<Shared>,
    coordinators: Vec<JoinHandle<()>>,
    waited: Duration,
}

#[derive(Debug)]
struct Shared {
    sampler: Sampler,
    start_step: u64,
    share: Share,
    stop: AtomicBool,
    /// Steps handed out.
    taken: AtomicU64,
}

impl Loader {
    /// Starts making the batches of rank `rank` of `world`, from step `start_step` of `stage` on. `threads` make samples;
    /// 0: `data.loader.threads`, or if that is 0 too the cores of this machine but one.
    ///
    /// # Errors
    /// [`LoadError::World`], [`LoadError::Dataset`], [`LoadError::Plan`], [`LoadError::Ground`], [`LoadError::Threads`].
    pub fn open(
        config: &Config,
        stage: Stage,
        rank: usize,
        world: usize,
        start_step: u64,
        threads: usize,
    ) -> Result<Self, LoadError> {
        let (batch, step) = match stage {
            Stage::Tokenizer => (config.tokenizer.global_batch, &config.tokenizer.step),
            Stage::Diffusion => (config.diffusion.global_batch, &config.diffusion.step),
        };
        let share = Share::of(batch, rank, world, step.accumulation)?;
        let sampler = Sampler::open(config, stage)?;
        let (stop, taken) = (AtomicBool::new(false), AtomicU64::new(0));
        let shared = Arc::new(Shared { sampler, start_step, share, stop, taken });
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = match (threads, config.data.loader.threads as usize) {
            (0, 0) => cores().saturating_sub(1).max(1),
            (0, n) | (n, _) => n,
        };
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|n| format!("sample-{n}"))
            .build()
            .map_err(|e| LoadError::Threads(e.to_string()))?;
        let pool = Arc::new(pool);
        let turns = threads.min(2);
        let ready = (config.data.loader.prefetch as usize).div_ceil(turns).max(1);
        let mut loader = Self { queues: Vec::new(), turn: 0, shared, coordinators: Vec::new(), waited: Duration::ZERO };
        for turn in 0..turns {
            let (sender, receiver) = bounded(ready);
            let (shared, pool) = (loader.shared.clone(), pool.clone());
            let thread = std::thread::Builder::new().name(format!("batches-{turn}"));
            let steps = (start_step + turn as u64..).step_by(turns);
            let started = thread.spawn(move || coordinate(&shared, &pool, steps, &sender));
            loader.coordinators.push(started.map_err(|e| LoadError::Threads(e.to_string()))?);
            loader.queues.push(receiver);
        }
        if loader.shared.sampler.is_remote() {
            ahead::start(&loader.shared).map_err(|e| LoadError::Threads(e.to_string()))?;
        }
        Ok(loader)
    }

    /// Waits for the next step's batch and returns it.
    ///
    /// # Errors
    /// [`LoadError::Sample`] or [`LoadError::CleanOnly`] of the first sample of the batch that cannot be made;
    /// [`LoadError::Ended`] after any error.
    #[allow(clippy::should_implement_trait)] // An iterator would have to end; this does not.
    pub fn next(&mut self) -> Result<Batch, LoadError> {
        let asked = Instant::now();
        let queue = self.queues.get(self.turn).ok_or(LoadError::Ended)?;
        let batch = queue.recv().unwrap_or(Err(LoadError::Ended));
        self.waited += asked.elapsed();
        self.turn = (self.turn + 1) % self.queues.len();
        self.shared.taken.fetch_add(1, Ordering::Relaxed);
        if batch.is_err() {
            self.shared.stop.store(true, Ordering::Relaxed);
            self.queues.clear();
        }
        batch
    }

    /// Seconds spent waiting in [`Loader::next`] so far.
    pub fn wait_seconds(&self) -> f64 {
        self.waited.as_secs_f64()
    }

    /// The sampling plan; its text lists the share of each dataset.
    pub fn plan(&self) -> &SamplingPlan {
        self.shared.sampler.plan()
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // A coordinator that waits for room finds its queue gone.
        self.queues.clear();
        // A thread in the middle of a network request ends after it, on its own.
        if !self.shared.sampler.is_remote() {
            for thread in self.coordinators.drain(..) {
                // A panic there was told by `next`.
                let _ = thread.join();
            }
        }
    }
}

fn coordinate(
    shared: &Shared,
    pool: &rayon::ThreadPool,
    steps: impl Iterator<Item = u64>,
    queue: &Sender<Result<Batch, LoadError>>,
) {
    for step in steps {
        let batch = pool.install(|| make(shared, step));
        let last = batch.is_err();
        if shared.stop.load(Ordering::Relaxed) || queue.send(batch).is_err() || last {
            return;
        }
    }
}

fn make(shared: &Shared, step: u64) -> Result<Batch, LoadError> {
    let rows = shared.share.rows(step);
    let first = rows.start;
    let mut batch = shared.sampler.memory(first, shared.share.computed() as usize);
    batch.weight = shared.share.weight();
    batch.step_len = shared.share.of_step() as usize;
    let slots = batch.slots();
    let sample = |(n, slot)| match shared.stop.load(Ordering::Relaxed) {
        true => Err(LoadError::Ended),
        false => shared.sampler.make(first + n as u64, slot),
    };
    let labels: Vec<Result<Label, LoadError>> = slots.into_par_iter().enumerate().map(sample).collect();
    batch.labels = labels.into_iter().collect::<Result<_, _>>()?;
    Ok(batch)
}
