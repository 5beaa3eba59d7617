//! What a job shows of its training: logged values, images, scores.

use std::hash::Hasher;
use std::ops::ControlFlow;

use defusion_config::Stage;
use defusion_dataloader::loader::{Batch, Label, Loader};
use fnv::FnvHasher;
use tch::Tensor;

use super::{Run, TrainError};
use crate::monitor;
use crate::stage::{ImageGrid, StepReport, TrainingStage};
use defusion_parallel::ReduceOp;
use defusion_restore::evaluate::{self, EvaluateOptions, Slice};

impl Run {
    /// Notes that `done` steps of `stage` are finished; logs if the config says so.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] if the upload of an earlier checkpoint failed, [`TrainError::Parallel`].
    pub fn finished_step(
        &mut self,
        stage: Stage,
        done: u64,
        batch: &Batch,
        report: StepReport,
        loader: &Loader,
    ) -> Result<(), TrainError> {
        self.heartbeat.beat(stage.name(), done);
        self.group.enter(stage, done, false);
        self.throughput.step(batch.step_len, report.times, loader.wait_seconds());
        if let Some(id) = self.checkpointer.poll()? {
            self.is_safe(id, stage.name(), done);
        }
        if let Some(monitor) = &mut self.monitor {
            monitor.progress(done);
        }
        if !done.is_multiple_of(self.config().monitor.log_every) {
            return Ok(());
        }
        let mut entries = self.mean_over_ranks(&report.values, batch.weight)?;
        entries.push(("lr", report.lr));
        entries.extend(self.throughput.take());
        let audit = [("samples_digest", self.samples_digest(batch)?)];
        if let Some(monitor) = &mut self.monitor {
            monitor.log(done, &entries, &audit);
        }
        Ok(())
    }

    /// The values averaged over all ranks, each rank's with its weight. This waits for the device, so it is done only for steps that are logged.
    fn mean_over_ranks(
        &self,
        values: &[(&'static str, Tensor)],
        weight: f64,
    ) -> Result<Vec<(&'static str, f64)>, TrainError> {
        let host: Vec<f64> = values.iter().map(|(_, v)| v.double_value(&[]) * weight).collect();
        let mut host = Tensor::f_from_slice(&host)?;
        self.group.collective().all_reduce(&mut host, ReduceOp::Sum, "log")?;
        let host = Vec::<f64>::try_from(host / self.group.size() as f64)?;
        Ok(values.iter().map(|(name, _)| *name).zip(host).collect())
    }

    /// A whole number that tells which samples the step consumed, whatever their order and the number of workers.
    fn samples_digest(&self, batch: &Batch) -> Result<f64, TrainError> {
        // 40 bits a sample: the sums of thousands are exact in a float64.
        let digest = |label: &Label| (label_hash(label) >> 24) as i64;
        let mut sum = Tensor::f_from_slice(&[batch.counted().iter().map(digest).sum::<i64>()])?;
        self.group.collective().all_reduce(&mut sum, ReduceOp::Sum, "samples digest")?;
        Ok(sum.int64_value(&[0]) as f64)
    }

    /// Shows grids in TensorBoard.
    ///
    /// # Errors
    /// [`TrainError::Monitor`] if the tensors make no grid.
    pub fn show(&mut self, done: u64, grids: &[ImageGrid]) -> Result<(), TrainError> {
        if let Some(monitor) = &mut self.monitor {
            for grid in grids {
                let rows: Vec<&Tensor> = grid.rows.iter().collect();
                monitor.images(done, grid.name, &monitor::compose(grid.name, &rows)?);
            }
        }
        Ok(())
    }

    /// Scores the moving averages on held-out images, all ranks together. Breaks off if any rank was asked to stop.
    ///
    /// # Errors
    /// [`TrainError::Validation`] if an image cannot be read or restored, [`TrainError::Stage`], [`TrainError::Parallel`].
    pub fn validate(&mut self, stage: &mut dyn TrainingStage, done: u64) -> Result<(), TrainError> {
        let Some(validation) = &self.validation else { return Ok(()) };
        let (collective, stop, heartbeat) = (self.group.collective(), &self.stop, &mut self.heartbeat);
        let slice = Slice { rank: collective.rank(), world: collective.size() };
        let mut failed = None;
        let mut after_batch = |_| {
            heartbeat.beat("validating", done);
            match collective.any(stop.is_set(), "stop validating?") {
                Ok(false) => ControlFlow::Continue(()),
                Ok(true) => ControlFlow::Break(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        };
        let mut outcome = None;
        stage.with_restorer(&mut |restorer| {
            let options = EvaluateOptions::default();
            outcome = Some(evaluate::run(validation.plan(), restorer, &options, slice, &mut after_batch));
        })?;
        failed.map_or(Ok(()), Err)?;
        // Its time is not the next steps'.
        self.throughput.take();
        let Some(mut totals) = outcome.transpose()?.flatten().map(|outcome| outcome.totals) else { return Ok(()) };
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
}

/// FNV-1a of `dataset/key`: the same on every rank and in every build, unlike the standard library's hashers.
fn label_hash(label: &Label) -> u64 {
    let mut hasher = FnvHasher::default();
    for part in [label.dataset.as_bytes(), b"/", label.key.as_bytes()] {
        hasher.write(part);
    }
    hasher.finish()
}
