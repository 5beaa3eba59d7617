//! Saving: a copy to host memory on the caller's thread, everything else in the background.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::host::Pool;
use super::save::Job;
use super::{Attempt, CheckpointError, CheckpointId, Retry, RunFolder, Snapshot};

/// How checkpoints are written and kept.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Newest whole checkpoints kept, at least 1.
    pub keep: u32,
    /// Checkpoints at multiples of this step are kept for ever; 0: none.
    pub keep_every: u64,
    /// Retries of every operation on the store.
    pub retry: Retry,
    /// How long rank 0 waits for the shares of the others.
    pub part_timeout: Duration,
    /// Longest pause between two looks for them.
    pub part_poll: Duration,
}

impl From<&defusion_config::Checkpoints> for Options {
    fn from(config: &defusion_config::Checkpoints) -> Self {
        Self {
            keep: config.keep,
            keep_every: config.keep_every,
            retry: Retry::default(),
            part_timeout: Duration::from_secs(30 * 60),
            part_poll: Duration::from_secs(2),
        }
    }
}

/// Saves snapshots of one rank. At most one upload is under way, so host memory holds at most one snapshot.
///
/// Failures of the background are never lost: each is returned once by [`Checkpointer::poll`] or
/// [`Checkpointer::wait`]. A run goes on after a failed save if its caller wants so, except after
/// [`CheckpointError::LostOwnership`].
pub struct Checkpointer {
    folder: RunFolder,
    attempt: Attempt,
    rank: usize,
    world: usize,
    options: Options,
    pool: Pool,
    under_way: Option<(CheckpointId, JoinHandle<Result<(), CheckpointError>>)>,
    last: Option<CheckpointId>,
    done: VecDeque<Result<CheckpointId, CheckpointError>>,
}

impl Checkpointer {
    /// A checkpointer of `rank` of `world`. `attempt` is [`RunFolder::claim`]'s, made by rank 0 and told to the others.
    pub fn new(folder: RunFolder, attempt: Attempt, rank: usize, world: usize, options: Options) -> Self {
        Self {
            folder,
            attempt,
            rank,
            world,
            options,
            pool: Pool::default(),
            under_way: None,
            last: None,
            done: VecDeque::new(),
        }
    }

    /// Copies this rank's share of `snapshot` to host memory and starts its upload. All ranks call it with equal
    /// snapshots. Waits for the previous upload first, where that is still under way. Saving the step that was saved last
    /// again does nothing.
    ///
    /// # Errors
    /// [`CheckpointError::State`] for what cannot be stored; nothing was written then. Failures of the upload come from
    /// [`Checkpointer::poll`] and [`Checkpointer::wait`].
    pub fn save(&mut self, snapshot: &Snapshot) -> Result<CheckpointId, CheckpointError> {
        let id = CheckpointId { stage: snapshot.stage, step: snapshot.step, attempt: self.attempt.number };
        if self.last == Some(id) {
            return Ok(id);
        }
        if self.busy() {
            let start = Instant::now();
            self.finish();
            tracing::warn!("the previous checkpoint's upload took {:?} longer than the next was due", start.elapsed());
        }
        self.finish();
        let shares = snapshot.encode_share(self.rank, self.world, &self.pool)?;
        let job = Job {
            store: self.folder.store().clone(),
            attempt: self.attempt.clone(),
            rank: self.rank,
            world: self.world,
            options: self.options,
            damaged: self.folder.damaged(),
            id,
            groups: snapshot.totals(),
            scalars: snapshot.scalars.clone(),
        };
        self.under_way = Some((id, self.folder.runtime().spawn(job.run(shares))));
        self.last = Some(id);
        Ok(id)
    }

    /// Whether an upload is under way.
    pub fn busy(&self) -> bool {
        self.under_way.as_ref().is_some_and(|(_, task)| !task.is_finished())
    }

    /// The next finished save, without waiting: its name, or why it failed. On rank 0 a finished save is a whole,
    /// verified checkpoint; on other ranks it is their share. `None` where there is no news.
    ///
    /// # Errors
    /// Why the save failed.
    pub fn poll(&mut self) -> Result<Option<CheckpointId>, CheckpointError> {
        if !self.busy() {
            self.finish();
        }
        self.done.pop_front().transpose()
    }

    /// Waits for the upload under way, if any; the name of the newest finished save that no call has returned yet.
    ///
    /// # Errors
    /// Why a save failed, the oldest first; the others remain for the next call.
    pub fn wait(&mut self) -> Result<Option<CheckpointId>, CheckpointError> {
        self.finish();
        let mut newest = None;
        while let Some(result) = self.done.pop_front() {
            newest = Some(result?);
        }
        Ok(newest)
    }

    fn finish(&mut self) {
        let Some((id, task)) = self.under_way.take() else { return };
        let result = match self.folder.runtime().block_on(task) {
            Ok(result) => result,
            Err(e) => Err(CheckpointError::Interrupted { checkpoint: id, message: e.to_string() }),
        };
        if result.is_err() {
            // So that the same step can be tried again.
            self.last = None;
        }
        self.done.push_back(result.map(|()| id));
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        if let Some((id, task)) = self.under_way.take_if(|(_, task)| !task.is_finished()) {
            tracing::error!("checkpoint {id} is abandoned before its upload is done");
            task.abort();
        }
        for error in self.done.drain(..).filter_map(Result::err) {
            tracing::error!("nobody asked after a failed save: {error}");
        }
    }
}
