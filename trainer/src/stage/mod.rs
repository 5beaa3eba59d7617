//! One training step of each stage, and nothing else: the loop around it is [`crate::train`].

mod diffusion;
mod engine;
mod noise;
mod tokenizer;

pub use diffusion::DiffusionTraining;
pub use engine::{Clock, Engine, EngineError, EngineOptions, Times, Update};
pub use tokenizer::TokenizerTraining;

use std::ops::ControlFlow;

use defusion_config::Stage;
use defusion_dataloader::Rng;
use defusion_dataloader::loader::Batch;
use tch::{Device, Tensor};

use crate::checkpoint::Snapshot;
use crate::evaluate::{EvaluateError, Plan, Slice, Totals};

/// Why a step could not be made.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// libtorch refused.
    #[error("{stage} stage, step {step}: {source}")]
    Torch {
        /// Stage.
        stage: Stage,
        /// Step, from 0.
        step: u64,
        /// libtorch's words.
        source: crate::torch::TorchError,
    },
    /// A collective failed.
    #[error("{stage} stage, step {step}: {source}")]
    Parallel {
        /// Stage.
        stage: Stage,
        /// Step, from 0.
        step: u64,
        /// Which collective, and why.
        source: crate::parallel::ParallelError,
    },
    /// Loss or gradients stayed non-finite.
    #[error(
        "{stage} stage: loss or gradients were not finite in {steps} steps in a row, the last of them {step}. The \
         checkpoints before are untouched; lower the learning rate or the precision, or look at the data"
    )]
    Diverged {
        /// Stage.
        stage: Stage,
        /// Last step.
        step: u64,
        /// How many in a row.
        steps: u64,
    },
    /// Weights given do not fit.
    #[error("{0}")]
    Weights(String),
    /// Validation.
    #[error("validation: {0}")]
    Validation(#[from] EvaluateError),
    /// A checkpoint lacks something or holds it in another shape.
    #[error(transparent)]
    Checkpoint(#[from] crate::checkpoint::CheckpointError),
}

/// What a step tells. The values stay on the device until somebody looks.
#[derive(Debug)]
pub struct StepReport {
    /// Scalars averaged over this rank's samples: `loss` first.
    pub values: Vec<(&'static str, Tensor)>,
    /// The learning rate used.
    pub lr: f64,
    /// Seconds by part.
    pub times: Times,
}

/// Pictures for TensorBoard.
#[derive(Debug)]
pub struct Grid {
    /// What the rows show: `a-z`, `0-9`, `_`.
    pub name: &'static str,
    /// Rows of pictures, each `[B, 3, H, W]` float32 in [-1, 1].
    pub rows: Vec<Tensor>,
}

/// A stage as the loop sees it.
pub trait TrainingStage {
    /// Which one.
    fn stage(&self) -> Stage;

    /// One optimizer step on this rank's share of step `step`'s samples.
    ///
    /// # Errors
    /// [`StageError`], alike on all ranks.
    fn step(&mut self, batch: &Batch, step: u64) -> Result<StepReport, StageError>;

    /// All that the next step depends on, after `step` steps. Tensors are shared, not copied.
    fn snapshot(&self, step: u64) -> Snapshot;

    /// Goes back to a snapshot.
    ///
    /// # Errors
    /// [`StageError::Checkpoint`] where it does not fit.
    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), StageError>;

    /// What the networks make of `batch`, to be looked at.
    ///
    /// # Errors
    /// [`StageError`].
    fn pictures(&mut self, batch: &Batch) -> Result<Vec<Grid>, StageError>;

    /// Restores and scores a slice of `plan` with the moving averages; `after_batch` as in [`crate::evaluate::run`].
    /// `None` where it broke off, and in a stage that restores nothing.
    ///
    /// # Errors
    /// [`StageError::Validation`].
    fn validate(
        &mut self,
        plan: &Plan,
        slice: Slice,
        after_batch: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Option<Totals>, StageError>;
}

/// `[len, 3, side, side]` float32 on `device` from a batch's plain memory.
fn picture_tensor(values: &[f32], side: usize, device: Device) -> Result<Tensor, tch::TchError> {
    let side = side as i64;
    let host = Tensor::f_from_slice(values)?.f_view([-1, 3, side, side])?;
    match device {
        // From pinned memory the copy goes on beside the host's work.
        Device::Cuda(_) => host.f_pin_memory(device)?.f_to_device_(device, tch::Kind::Float, true, false),
        _ => Ok(host),
    }
}

/// Makes the fresh weights of a stage's networks a function of the run's seed.
fn seed_weights(seed: u64, stage: Stage) {
    let mut rng = Rng::new(seed, &[WEIGHTS, stage as u64]);
    // tch takes a signed seed; the sign carries nothing.
    tch::manual_seed((rng.u64() >> 1) as i64);
}

/// Separates the draws of weights from those of samples.
const WEIGHTS: u64 = 0x77_6569_6768_7473;
