//! A training job as one rank sees it: config, workers, run folder, monitor, and what the loop asks of them.

use std::ops::ControlFlow;

use defusion_config::{Config, DatasetUse, Resolved, Stage};
use defusion_dataloader::loader::{Batch, Label, LoadError, Loader};
use defusion_dataloader::shard::ShardError;
use defusion_dataloader::store::join;
use defusion_dataloader::verify;
use tch::Tensor;

use crate::checkpoint::{Attempt, CheckpointError, CheckpointId, Checkpointer, Options, RunFolder, Snapshot};
use crate::evaluate::{EvaluateError, Slice};
use crate::heartbeat::Pulse;
use crate::monitor::{self, Monitor, MonitorError};
use crate::parallel::{ParallelError, ReduceOp};
use crate::signals::StopWish;
use crate::stage::{Grid, StageError, StepReport, TrainingStage};
use crate::throughput::Throughput;
use crate::validation::Validation;
use crate::workers::Workers;

/// How a job ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Both stages are done.
    Finished,
    /// All ranks agreed to stop, and left a checkpoint.
    Stopped,
}

/// Why a job failed.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The loader.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A training step.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The datasets of validation.
    #[error(transparent)]
    Validation(#[from] EvaluateError),
    /// Run folder or checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The monitor.
    #[error(transparent)]
    Monitor(#[from] MonitorError),
    /// A collective outside a step.
    #[error(transparent)]
    Parallel(#[from] ParallelError),
    /// libtorch outside a step.
    #[error(transparent)]
    Torch(#[from] tch::TchError),
    /// A shard is damaged.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// Another rank found something that ends the job on all ranks; it says what.
    #[error("{0}: another rank says which")]
    Elsewhere(&'static str),
    /// Rank 0 found something that ends the job on all ranks; it has said what.
    #[error("rank 0 could not go on: {0}")]
    RankZero(String),
}

/// One rank of a training job.
pub struct Run {
    resolved: Resolved,
    workers: Workers,
    folder: RunFolder,
    attempt: Attempt,
    checkpointer: Checkpointer,
    /// Of the stage in progress.
    monitor: Option<Monitor>,
    pulse: Pulse,
    stop: StopWish,
    loader_threads: usize,
    throughput: Throughput,
    validation: Option<Validation>,
}

impl Run {
    /// Enters the run folder: rank 0 checks its config and takes it over, the others are told.
    ///
    /// # Errors
    /// A folder of another config, or one that cannot be read or written.
    pub fn enter(
        resolved: Resolved,
        workers: Workers,
        stop: StopWish,
        loader_threads: usize,
    ) -> Result<Self, TrainError> {
        let config = &resolved.config;
        let (rank, world) = (workers.rank(), workers.size());
        let folder = RunFolder::open(&config.run)?;
        let claim = || -> Result<Vec<u8>, TrainError> {
            let digest = folder.enter(&resolved)?;
            Ok(folder.claim(&digest)?.to_bytes())
        };
        let attempt = Attempt::from_bytes(&from_rank_zero(&workers, claim)?)?;
        let options = Options::from(&config.checkpoints);
        let checkpointer = Checkpointer::new(folder.clone(), attempt.clone(), rank, world, options);
        Ok(Self {
            validation: Validation::open(config)?,
            pulse: Pulse::from_environment(),
            throughput: Throughput::new(),
            resolved,
            workers,
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
    pub fn workers(&self) -> &Workers {
        &self.workers
    }

    /// This worker's number.
    pub fn rank(&self) -> usize {
        self.workers.rank()
    }

    /// Number of workers.
    pub fn world_size(&self) -> usize {
        self.workers.size()
    }

    /// Threads of this worker's loader.
    pub fn loader_threads(&self) -> usize {
        self.loader_threads
    }

    /// Compares the shards with their manifests' sha256, each rank its part of them.
    ///
    /// # Errors
    /// [`TrainError::Shard`] on the rank that found a damaged one, [`TrainError::Elsewhere`] on the others.
    pub fn check_shards(&mut self) -> Result<(), TrainError> {
        let data = &self.config().data;
        if !data.verify_shards {
            return Ok(());
        }
        let check = |set: &DatasetUse| verify::digests(&join(&data.shards, &set.name), self.rank(), self.world_size());
        let checked = data.datasets.iter().try_for_each(check);
        let damaged = self.workers.collective().any(checked.is_err(), "shards are sound?")?;
        checked?;
        if damaged { Err(TrainError::Elsewhere("a shard is damaged")) } else { Ok(()) }
    }

    /// The newest checkpoint all of whose bytes are right, the same on all ranks; `None` for a new run.
    ///
    /// # Errors
    /// Where the folder holds checkpoints and none can be used.
    pub fn newest_checkpoint(&mut self) -> Result<Option<Snapshot>, TrainError> {
        self.pulse.beat("starting", 0);
        let find = || -> Result<Vec<u8>, TrainError> {
            let Some(found) = self.folder.find_latest()? else { return Ok(Vec::new()) };
            for damaged in &found.damaged {
                eprintln!("passed over: {damaged}");
            }
            Ok(found.id.to_string().into_bytes())
        };
        let name = String::from_utf8_lossy(&from_rank_zero(&self.workers, find)?).into_owned();
        if name.is_empty() {
            return Ok(None);
        }
        let id: CheckpointId = name.parse().map_err(TrainError::RankZero)?;
        let snapshot = self.folder.load(id)?;
        self.say(&format!("resuming from {id}"));
        Ok(Some(snapshot))
    }

    /// Starts a stage's progress and clocks at step `start` of `iterations`.
    ///
    /// # Errors
    /// The monitor's.
    pub fn begin_stage(&mut self, stage: Stage, start: u64, iterations: u64) -> Result<(), TrainError> {
        self.end_stage()?;
        self.throughput = Throughput::new();
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

    /// Notes that `done` steps of `stage` are finished; logs where the config says so.
    ///
    /// # Errors
    /// A failed upload of an earlier checkpoint, the monitor's, or a collective's.
    pub fn finished_step(
        &mut self,
        stage: Stage,
        done: u64,
        batch: &Batch,
        report: StepReport,
        loader: &Loader,
    ) -> Result<(), TrainError> {
        self.pulse.beat(stage.name(), done);
        self.throughput.step(batch.len * self.workers.size(), report.times, loader.wait_seconds());
        if let Some(id) = self.checkpointer.poll()? {
            self.say(&format!("checkpoint {id} is safe"));
        }
        if let Some(monitor) = &mut self.monitor {
            monitor.progress(done);
        }
        if !done.is_multiple_of(self.config().monitor.log_every) {
            return Ok(());
        }
        let mut entries = self.mean_over_ranks(&report.values)?;
        entries.push(("lr", report.lr));
        entries.extend(self.throughput.take());
        let audit = [("samples_digest", self.samples_digest(batch)?)];
        if let Some(monitor) = &mut self.monitor {
            monitor.log(done, &entries, &audit);
        }
        Ok(())
    }

    /// The values averaged over all ranks. This waits for the device, so it is done only for steps that are logged.
    fn mean_over_ranks(&self, values: &[(&'static str, Tensor)]) -> Result<Vec<(&'static str, f64)>, TrainError> {
        let host: Vec<f64> = values.iter().map(|(_, v)| v.double_value(&[])).collect();
        let mut host = Tensor::f_from_slice(&host)?;
        self.workers.collective().all_reduce(&mut host, ReduceOp::Sum, "log")?;
        let host = Vec::<f64>::try_from(host / self.workers.size() as f64)?;
        Ok(values.iter().map(|(name, _)| *name).zip(host).collect())
    }

    /// A whole number that tells which samples the step consumed, whatever their order and the number of workers.
    fn samples_digest(&self, batch: &Batch) -> Result<f64, TrainError> {
        // 40 bits a sample: the sums of thousands are exact in a float64.
        let digest = |l: &Label| (fnv1a(&[l.dataset.as_bytes(), b"/", l.key.as_bytes()]) >> 24) as i64;
        let mut sum = Tensor::f_from_slice(&[batch.labels.iter().map(digest).sum::<i64>()])?;
        self.workers.collective().all_reduce(&mut sum, ReduceOp::Sum, "samples digest")?;
        Ok(sum.int64_value(&[0]) as f64)
    }

    /// Whether pictures are due after `done` steps.
    pub fn images_due(&self, done: u64) -> bool {
        let every = self.config().monitor.images_every;
        every > 0 && done.is_multiple_of(every)
    }

    /// Shows grids in TensorBoard.
    ///
    /// # Errors
    /// The monitor's.
    pub fn show(&mut self, done: u64, grids: &[Grid]) -> Result<(), TrainError> {
        if let Some(monitor) = &mut self.monitor {
            for grid in grids {
                let rows: Vec<&Tensor> = grid.rows.iter().collect();
                monitor.images(done, grid.name, &monitor::Grid::compose(grid.name, &rows)?);
            }
        }
        Ok(())
    }

    /// Whether a validation is due after `done` of `iterations` steps.
    pub fn validation_due(&self, done: u64, iterations: u64) -> bool {
        self.validation.as_ref().is_some_and(|validation| validation.due(done, iterations))
    }

    /// Scores the moving averages on held-out pictures, all ranks together. Breaks off where any rank was asked to stop.
    ///
    /// # Errors
    /// A picture that cannot be read or restored, a collective's, the monitor's.
    pub fn validate(&mut self, stage: &mut dyn TrainingStage, done: u64) -> Result<(), TrainError> {
        let Some(validation) = &self.validation else { return Ok(()) };
        let (collective, stop, pulse) = (self.workers.collective(), &self.stop, &mut self.pulse);
        let slice = Slice { rank: collective.rank(), world: collective.size() };
        let mut failed = None;
        let totals = stage.validate(validation.plan(), slice, &mut |_| {
            pulse.beat("validating", done);
            match collective.any(stop.made(), "stop validating?") {
                Ok(false) => ControlFlow::Continue(()),
                Ok(true) => ControlFlow::Break(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        failed.map_or(Ok(()), Err)?;
        // Its time is not the next steps'.
        self.throughput.take();
        let Some(mut totals) = totals else { return Ok(()) };
        let mut sums = Tensor::f_from_slice(totals.values_mut())?;
        collective.all_reduce(&mut sums, ReduceOp::Sum, "validation")?;
        totals.values_mut().copy_from_slice(&Vec::<f64>::try_from(sums)?);
        let charts = validation.charts(&totals);
        let (before, after) = validation.mean_psnr(&totals);
        if let Some(monitor) = &mut self.monitor {
            let charts: Vec<(&str, f64)> = charts.iter().map(|(name, value)| (name.as_str(), *value)).collect();
            monitor.charts(done, &charts);
            monitor.say(&format!("validation at step {done}: mean PSNR {before:.2} -> {after:.2} dB"));
        }
        Ok(())
    }

    /// Whether any rank has been asked to stop; the same answer on all.
    ///
    /// # Errors
    /// A collective's.
    pub fn all_agree_to_stop(&self) -> Result<bool, TrainError> {
        Ok(self.workers.collective().any(self.stop.made(), "stop?")?)
    }

    /// Whether a checkpoint is due after `done` of `iterations` steps.
    pub fn checkpoint_due(&self, done: u64, iterations: u64) -> bool {
        done == iterations || done.is_multiple_of(self.config().checkpoints.every)
    }

    /// Starts to save `snapshot`; the upload goes on in the background.
    ///
    /// # Errors
    /// Where an upload before it failed or the folder belongs to another job by now.
    pub fn checkpoint(&mut self, snapshot: &Snapshot) -> Result<(), TrainError> {
        self.checkpointer.save(snapshot)?;
        Ok(())
    }

    /// Waits for the last checkpoint and closes the monitor.
    ///
    /// # Errors
    /// A failed upload.
    pub fn leave(mut self, outcome: Outcome) -> Result<(), TrainError> {
        self.pulse.beat("checkpoint", 0);
        if let Some(id) = self.checkpointer.wait()? {
            self.say(&format!("checkpoint {id} is safe"));
        }
        self.say(match outcome {
            Outcome::Finished => "finished",
            Outcome::Stopped => "stopped as asked; run the same command to go on",
        });
        self.end_stage()?;
        self.workers.collective().barrier("end of the run")?;
        self.pulse.beat("done", 0);
        Ok(())
    }
}

/// What `make` returns on rank 0, on all ranks. Where it fails there, all ranks fail, and rank 0 with the cause.
fn from_rank_zero(
    workers: &Workers,
    make: impl FnOnce() -> Result<Vec<u8>, TrainError>,
) -> Result<Vec<u8>, TrainError> {
    let mut message = Vec::new();
    let mut failure = None;
    if workers.rank() == 0 {
        match make() {
            Ok(bytes) => {
                message.push(1);
                message.extend(bytes);
            }
            Err(error) => {
                message.push(0);
                message.extend(error.to_string().into_bytes());
                failure = Some(error);
            }
        }
    }
    workers.collective().broadcast_bytes(&mut message, 0, "news from rank 0")?;
    match (failure, message.split_first()) {
        (Some(error), _) => Err(error),
        (None, Some((1, bytes))) => Ok(bytes.to_vec()),
        (None, Some((_, text))) => Err(TrainError::RankZero(String::from_utf8_lossy(text).into_owned())),
        (None, None) => Err(TrainError::RankZero("it sent nothing".into())),
    }
}

fn fnv1a(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().flat_map(|p| p.iter());
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}
