//! One network in training: its weights, gradient buckets, optimizer and moving average.

use std::time::Duration;

use defusion_config::{Adam, Arithmetic, Stage, StepOptions};
use tch::{Device, Tensor, nn};

use super::StageError;
use super::buffers::KeptBuffers;
use super::clock::Clock;
use crate::ema::Ema;
use crate::optim::{self, AdamW};
use defusion_checkpoint::Snapshot;
use defusion_parallel::{BucketSizes, DataParallel, DataParallelOptions, ParallelError, ProcessGroup, Unused};
use defusion_torch::TorchError;

/// Lays a convolution's weight out as NHWC, in place. What it is applied to comes out as NHWC too, so the whole network
/// follows.
fn to_channels_last(weight: &mut Tensor) -> Result<(), TorchError> {
    let laid_out = weight.detach().f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])?;
    weight.set_data(&laid_out);
    Ok(())
}

/// How an [`Engine`] trains.
#[derive(Clone, Copy)]
pub struct EngineOptions<'a> {
    /// Optimizer.
    pub adam: &'a Adam,
    /// Buckets, and how many non-finite steps in a row end the run.
    pub step: &'a StepOptions,
    /// Decay of the moving average; `None`: there is none.
    pub ema_decay: Option<f64>,
}

/// Why a step failed, before it is known which step it was.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// libtorch through tch.
    #[error(transparent)]
    Tch(#[from] tch::TchError),
    /// libtorch through the shim.
    #[error(transparent)]
    Torch(#[from] TorchError),
    /// A collective.
    #[error(transparent)]
    Parallel(#[from] ParallelError),
    /// Too many non-finite steps in a row.
    #[error("{0} non-finite steps in a row")]
    Diverged(u64),
    /// `precision` is still `auto`.
    #[error("precision is auto")]
    Unsettled,
}

impl EngineError {
    /// The same, with stage and step.
    pub fn at(self, stage: Stage, step: u64) -> StageError {
        match self {
            Self::Tch(source) => StageError::Torch { stage, step, source: source.into() },
            Self::Torch(source) => StageError::Torch { stage, step, source },
            Self::Parallel(source) => StageError::Parallel { stage, step, source },
            Self::Diverged(steps) => StageError::Diverged { stage, step, steps },
            Self::Unsettled => StageError::Unsettled(stage),
        }
    }
}

/// Returns what a stage computes with.
///
/// # Errors
/// [`EngineError::Unsettled`].
pub(super) fn arithmetic(step: &StepOptions) -> Result<Arithmetic, EngineError> {
    step.precision.settled().ok_or(EngineError::Unsettled)
}

/// What [`Engine::update`] found. Scalars on the device.
#[derive(Debug)]
pub struct Update {
    /// The loss, averaged over ranks and micro-batches.
    pub loss: Tensor,
    /// Global norm of the gradient before clipping.
    pub grad_norm: Tensor,
    /// 1 if the step was skipped because loss or gradient is not finite, else 0.
    pub nonfinite: Tensor,
}

/// One network in training.
pub struct Engine {
    prefix: &'static str,
    vars: nn::VarStore,
    /// What is saved but not trained, such as running statistics.
    buffers: Vec<Tensor>,
    parallel: DataParallel,
    adam: AdamW,
    ema: Option<Ema>,
    micro_batches: u32,
    max_nonfinite: u32,
}

impl Engine {
    /// Takes over the weights in `vars`, made equal to rank 0's. `prefix` tells its groups in a snapshot from those of
    /// other networks.
    ///
    /// # Errors
    /// [`EngineError::Parallel`] if the ranks differ, [`EngineError::Torch`].
    pub fn new(
        prefix: &'static str,
        vars: nn::VarStore,
        group: &ProcessGroup,
        options: &EngineOptions<'_>,
    ) -> Result<Self, EngineError> {
        // By name: a VarStore has no order of its own, and all ranks must have the same.
        let mut named: Vec<(String, Tensor)> = vars.variables().into_iter().collect();
        named.sort_by(|a, b| a.0.cmp(&b.0));
        let (mut params, buffers): (Vec<_>, Vec<_>) = named.into_iter().partition(|(_, t)| t.requires_grad());
        if options.step.channels_last {
            for (_, weight) in params.iter_mut().filter(|(_, t)| t.dim() == 4) {
                to_channels_last(weight)?;
            }
        }
        let owned = || params.iter().map(|(n, t)| (n.clone(), t.shallow_clone())).collect();
        let parallel = DataParallel::new(
            &format!("{prefix}model"),
            owned(),
            &buffers,
            group.collective().clone(),
            DataParallelOptions { sizes: BucketSizes::mib(options.step.bucket_mib), unused: Unused::Zero },
        )?;
        Ok(Self {
            adam: AdamW::new(&params, options.adam.clone())?,
            ema: options.ema_decay.map(|decay| Ema::new(&params, decay)).transpose()?,
            buffers: buffers.into_iter().map(|(_, t)| t).collect(),
            parallel,
            prefix,
            vars,
            micro_batches: options.step.accumulation,
            max_nonfinite: options.step.max_nonfinite,
        })
    }

    /// If the weights are.
    pub fn device(&self) -> Device {
        self.vars.device()
    }

    /// The moving averages by name; empty if there is none.
    pub fn averages(&self) -> Vec<(String, Tensor)> {
        self.ema.as_ref().map(Ema::state).unwrap_or_default()
    }

    /// The moving averages by name, and the end of all else.
    pub fn into_averages(self) -> Vec<(String, Tensor)> {
        self.averages()
    }

    /// What is saved but not trained, as it is now, to come back if a step is skipped.
    pub(super) fn keep_buffers(&self) -> Result<KeptBuffers, EngineError> {
        Ok(KeptBuffers::new(&self.buffers)?)
    }

    /// Runs `f` while the weights are their moving averages.
    pub fn with_average<T>(&mut self, f: impl FnOnce() -> T) -> T {
        match &mut self.ema {
            Some(ema) => ema.with_average(f),
            None => f(),
        }
    }

    /// Runs `f` with the weights frozen: no gradient is computed for them.
    pub fn frozen<T>(&self, f: impl FnOnce() -> T) -> T {
        self.parallel.frozen(f)
    }

    /// Begins a step of so many micro-batches as the options say.
    ///
    /// # Errors
    /// [`EngineError::Tch`], [`EngineError::Torch`].
    pub fn begin_step(&mut self) -> Result<(), EngineError> {
        Ok(self.parallel.begin_step(self.micro_batches)?)
    }

    /// Backward of a micro-batch's mean loss; `last` starts the reduction.
    ///
    /// # Errors
    /// [`EngineError::Tch`], [`EngineError::Torch`], [`EngineError::Parallel`].
    pub fn backward(&mut self, loss: &Tensor, last: bool, clock: &mut Clock) -> Result<(), EngineError> {
        clock.forward();
        self.parallel.backward(loss, last)?;
        clock.times.backward += clock.lap().as_secs_f64();
        Ok(())
    }

    /// Waits for the reduction, then clips, steps and averages.
    ///
    /// # Errors
    /// [`EngineError::Parallel`], [`EngineError::Torch`], [`EngineError::Diverged`].
    pub fn update(&mut self, step: u64, lr: f64, clip_norm: f64, clock: &mut Clock) -> Result<Update, EngineError> {
        let report = self.parallel.finish()?;
        clock.times.exposed_all_reduce += clock.lap().as_secs_f64();
        let reductions = report.buckets.iter().map(|timing| timing.ended - timing.started);
        clock.times.all_reduce += reductions.sum::<Duration>().as_secs_f64();
        let gradients = self.parallel.gradients();
        let check = optim::grad_check(&gradients, &report.mean_loss, clip_norm)?;
        self.adam.step(&gradients, &check, lr)?;
        if let Some(ema) = &mut self.ema {
            ema.update()?;
        }
        // The count lives on the device. A GPU is asked for it only now and then, so that it never waits for the host.
        let limit = u64::from(self.max_nonfinite.max(1));
        if (self.device() == Device::Cpu || step.is_multiple_of(limit)) && self.adam.skipped_in_a_row() >= limit {
            return Err(EngineError::Diverged(self.adam.skipped_in_a_row()));
        }
        clock.times.optimizer += clock.lap().as_secs_f64();
        Ok(Update { loss: report.mean_loss, grad_norm: check.norm, nonfinite: check.nonfinite })
    }

    /// Puts weights, optimizer and average into a snapshot, as handles.
    pub(super) fn store(&self, snapshot: &mut Snapshot) {
        let prefix = self.prefix;
        snapshot.insert(&format!("{prefix}model"), self.vars.variables());
        snapshot.insert(&format!("{prefix}optim"), self.adam.state());
        if let Some(ema) = &self.ema {
            snapshot.insert(&format!("{prefix}ema"), ema.state());
        }
    }
}
