//! Saving: a copy to host memory on the caller's thread, everything else in the background.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::attempt::Attempt;
use crate::error::CheckpointError;
use crate::folder::RunFolder;
use crate::names::CheckpointId;
use crate::options::CheckpointOptions;
use crate::pool::Pool;
use crate::save::Job;
use crate::state::Snapshot;

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
    options: CheckpointOptions,
    pool: Pool,
    under_way: Option<(CheckpointId, JoinHandle<Result<(), CheckpointError>>)>,
    /// Tells the upload under way that nobody waits for it any more.
    abandoned: Arc<AtomicBool>,
    last: Option<CheckpointId>,
    done: VecDeque<Result<CheckpointId, CheckpointError>>,
}

impl Checkpointer {
    /// A checkpointer of `rank` of `world`. `attempt` is [`RunFolder::claim`]'s, made by rank 0 and told to the others.
    pub fn new(folder: RunFolder, attempt: Attempt, rank: usize, world: usize, options: CheckpointOptions) -> Self {
        Self {
            folder,
            attempt,
            rank,
            world,
            options,
            pool: Pool::default(),
            under_way: None,
            abandoned: Arc::default(),
            last: None,
            done: VecDeque::new(),
        }
    }

    /// Copies this rank's share of `snapshot` to host memory and starts its upload. All ranks call it with equal
    /// snapshots. Waits for the previous upload first, if that is still under way. Saving the step that was saved last
    /// again does nothing.
    ///
    /// # Errors
    /// [`CheckpointError::State`] for what cannot be stored, [`CheckpointError::Interrupted`] if no thread can be started;
    /// nothing was written then. Failures of the upload come from [`Checkpointer::poll`] and [`Checkpointer::wait`].
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
            store: self.folder.store().with_retry(self.options.retry),
            attempt: self.attempt.clone(),
            rank: self.rank,
            world: self.world,
            options: self.options,
            damaged: self.folder.damaged(),
            abandoned: Arc::clone(&self.abandoned),
            id,
            groups: snapshot.totals(),
            scalars: snapshot.scalars.clone(),
        };
        let upload = std::thread::Builder::new().name("checkpoint".into()).spawn(move || job.run(shares));
        let upload = upload.map_err(|e| CheckpointError::Interrupted {
            checkpoint: id,
            message: format!("its thread cannot be started: {e}"),
        })?;
        self.under_way = Some((id, upload));
        self.last = Some(id);
        Ok(id)
    }

    /// Returns whether an upload is under way.
    pub fn busy(&self) -> bool {
        self.under_way.as_ref().is_some_and(|(_, task)| !task.is_finished())
    }

    /// The next finished save, without waiting: its name, or why it failed. On rank 0 a finished save is a whole,
    /// verified checkpoint; on other ranks it is their share. `None` if there is no news.
    ///
    /// # Errors
    /// The [`CheckpointError`] for which the save failed.
    pub fn poll(&mut self) -> Result<Option<CheckpointId>, CheckpointError> {
        if !self.busy() {
            self.finish();
        }
        self.done.pop_front().transpose()
    }

    /// Waits for the upload under way, if any; the name of the newest finished save that no call has returned yet.
    ///
    /// # Errors
    /// The [`CheckpointError`] for which a save failed, the oldest first; the others remain for the next call.
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
        let result = task.join().unwrap_or_else(|_| {
            Err(CheckpointError::Interrupted { checkpoint: id, message: "its thread panicked".into() })
        });
        if result.is_err() {
            // So that the same step can be tried again.
            self.last = None;
        }
        self.done.push_back(result.map(|()| id));
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        if let Some((id, _)) = self.under_way.take_if(|(_, task)| !task.is_finished()) {
            tracing::error!("checkpoint {id} is abandoned before its upload is done");
            self.abandoned.store(true, Ordering::Relaxed);
        }
        for error in self.done.drain(..).filter_map(Result::err) {
            tracing::error!("nobody asked after a failed save: {error}");
        }
    }
}
