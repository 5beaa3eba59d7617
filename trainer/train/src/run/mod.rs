//! A training job as one rank sees it: config, workers, run folder, monitor, and what the loop asks of them.

mod error;
mod load;
mod precision;
mod progress;
mod rank_zero;
mod start;
mod uploads;

use defusion_config::{Config, Resolved, Stage};

use crate::heartbeat::HeartbeatWriter;
use crate::monitor::Monitor;
use crate::signals::StopSignal;
use crate::throughput::Throughput;
use crate::validation::Validation;
use defusion_checkpoint::{Attempt, CheckpointId, CheckpointOptions, Checkpointer, RunFolder, Snapshot};
use defusion_parallel::ProcessGroup;
use defusion_torch::native_bfloat16;
pub use error::{Outcome, TrainError};
pub use load::DealtCheckpoint;
use rank_zero::from_rank_zero;
use uploads::wait_for_uploads;

/// One rank of a training job.
pub struct Run {
    resolved: Resolved,
    group: ProcessGroup,
    folder: RunFolder,
    attempt: Attempt,
    checkpointer: Checkpointer,
    /// Of the stage in progress.
    monitor: Option<Monitor>,
    heartbeat: HeartbeatWriter,
    stop: StopSignal,
    loader_threads: usize,
    throughput: Throughput,
    validation: Option<Validation>,
}

impl Run {
    /// Enters the run folder: rank 0 checks its config and takes it over, the others are told. So is what a precision of
    /// `auto` comes to.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] if the folder is another config's or cannot be read or written, [`TrainError::RankZero`]
    /// on the other ranks.
    pub fn enter(
        mut resolved: Resolved,
        group: ProcessGroup,
        stop: StopSignal,
        loader_threads: usize,
    ) -> Result<Self, TrainError> {
        let (rank, world) = (group.rank(), group.size());
        let folder = RunFolder::open(&resolved.config.run)?;
        let claim = || -> Result<Vec<u8>, TrainError> {
            let device = native_bfloat16(group.device())?;
            let (asked, mut in_folder) = (resolved.config.clone(), false);
            let digest = folder.enter_settling(&mut resolved, |config, recorded| {
                in_folder = recorded.is_some();
                config.settle_precision(recorded, device.is_native);
            })?;
            precision::news(&asked, &resolved.config, &device, in_folder).iter().for_each(|line| eprintln!("{line}"));
            Ok([&precision::to_bytes(&resolved.config)[..], &folder.claim(&digest)?.to_bytes()].concat())
        };
        let news = from_rank_zero(&**group.collective(), claim)?;
        let attempt = Attempt::from_bytes(precision::take(&mut resolved.config, &news)?)?;
        let config = &resolved.config;
        let options = CheckpointOptions::from(&config.checkpoints);
        let checkpointer = Checkpointer::new(folder.clone(), attempt.clone(), rank, world, options);
        Ok(Self {
            validation: Validation::open(config)?,
            heartbeat: HeartbeatWriter::from_environment(),
            throughput: Throughput::new(),
            resolved,
            group,
            folder,
            attempt,
            checkpointer,
            monitor: None,
            stop,
            loader_threads,
        })
    }

    /// The config.
    pub fn config(&self) -> &Config {
        &self.resolved.config
    }

    /// The job's workers.
    pub fn group(&self) -> &ProcessGroup {
        &self.group
    }

    /// This worker's number.
    pub fn rank(&self) -> usize {
        self.group.rank()
    }

    /// Number of workers.
    pub fn world_size(&self) -> usize {
        self.group.size()
    }

    /// Threads of this worker's loader.
    pub fn loader_threads(&self) -> usize {
        self.loader_threads
    }

    /// Starts a stage's progress and clocks at step `start` of `iterations`.
    ///
    /// # Errors
    /// [`TrainError::Monitor`].
    pub fn begin_stage(&mut self, stage: Stage, start: u64, iterations: u64) -> Result<(), TrainError> {
        self.end_stage()?;
        self.throughput = Throughput::new();
        self.group.enter(stage, start, true);
        self.monitor = Some(Monitor::open(&self.folder, &self.attempt, self.rank(), stage, start, iterations)?);
        Ok(())
    }

    /// Writes out what the monitor of the stage before still holds.
    fn end_stage(&mut self) -> Result<(), TrainError> {
        Ok(self.monitor.take().map_or(Ok(()), |mut monitor| monitor.flush())?)
    }

    /// A line on rank 0.
    fn say(&self, text: &str) {
        if self.rank() == 0 {
            match &self.monitor {
                Some(monitor) => monitor.say(text),
                None => eprintln!("{text}"),
            }
        }
    }

    /// Whether images are due after `done` steps.
    pub fn images_due(&self, done: u64) -> bool {
        let every = self.config().monitor.images_every;
        every > 0 && done.is_multiple_of(every)
    }

    /// Whether a validation is due after `done` of `iterations` steps.
    pub fn validation_due(&self, done: u64, iterations: u64) -> bool {
        self.validation.as_ref().is_some_and(|validation| validation.due(done, iterations))
    }

    /// Whether any rank has been asked to stop; the same answer on all.
    ///
    /// # Errors
    /// [`TrainError::Parallel`].
    pub fn all_agree_to_stop(&self) -> Result<bool, TrainError> {
        Ok(self.group.collective().any(self.stop.is_set(), "stop?")?)
    }

    /// Whether a checkpoint is due after `done` of `iterations` steps.
    pub fn checkpoint_due(&self, done: u64, iterations: u64) -> bool {
        done == iterations || done.is_multiple_of(self.config().checkpoints.every)
    }

    /// Starts to save `snapshot`; the upload goes on in the background. Waits for the one before, if a rank has one under way.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] if an upload before it failed or the folder belongs to another job by now,
    /// [`TrainError::Parallel`].
    pub fn checkpoint(&mut self, snapshot: &Snapshot) -> Result<(), TrainError> {
        self.wait_for_uploads(snapshot.step)?;
        self.checkpointer.save(snapshot)?;
        Ok(())
    }

    /// Waits until no rank has an upload under way; the launcher hears that this worker, which has done `step` steps, lives.
    fn wait_for_uploads(&mut self, step: u64) -> Result<(), TrainError> {
        let (collective, heartbeat) = (self.group.collective(), &mut self.heartbeat);
        let any = |busy| collective.any(busy, "uploads under way?");
        Ok(wait_for_uploads(&self.checkpointer, any, || heartbeat.beat("checkpoint", step))?)
    }

    /// Says that a checkpoint is safe. Only rank 0 knows: of the others it is their share alone.
    fn is_safe(&mut self, id: CheckpointId, phase: &str, step: u64) {
        if self.rank() == 0 {
            self.heartbeat.safe(phase, step, id.stage, id.step);
        }
        self.say(&format!("checkpoint {id} is safe"));
    }

    /// Waits for the last checkpoint and closes the monitor.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] if an upload failed, [`TrainError::Parallel`].
    pub fn leave(mut self, outcome: Outcome) -> Result<(), TrainError> {
        self.heartbeat.beat("checkpoint", 0);
        self.wait_for_uploads(0)?;
        if let Some(id) = self.checkpointer.wait()? {
            self.is_safe(id, "checkpoint", 0);
        }
        self.say(match outcome {
            Outcome::Finished => "finished",
            Outcome::Stopped => "stopped as asked; run the same command to go on",
        });
        self.end_stage()?;
        self.group.collective().barrier("end of the run")?;
        self.heartbeat.beat("done", 0);
        Ok(())
    }
}
