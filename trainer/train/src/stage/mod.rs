//! One training step of each stage, and nothing else: the loop around it is [`crate::train`].

mod buffers;
mod clock;
mod codebook;
mod diffusion;
mod discriminator;
mod engine;
mod noise;
mod tokenizer;

pub use clock::{Clock, Times};
pub use diffusion::DiffusionTraining;
pub use engine::{Engine, EngineError, EngineOptions, Update};
pub use tokenizer::TokenizerTraining;

use defusion_checkpoint::{CheckpointError, Snapshot};
use defusion_config::Stage;
use defusion_config::protocol::{EXIT_DIVERGED, EXIT_FAILED, EXIT_USAGE};
use defusion_dataloader::loader::Batch;
use defusion_imaging::Rng;
use defusion_model::import::ImportError;
use defusion_model::weights::WeightsError;
use defusion_parallel::{BatchShare, ParallelError};
use defusion_restore::{Restorer, RestorerError};
use tch::{Device, Tensor};

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
        source: defusion_torch::TorchError,
    },
    /// A collective failed.
    #[error("{stage} stage, step {step}: {source}")]
    Parallel {
        /// Stage.
        stage: Stage,
        /// Step, from 0.
        step: u64,
        /// Which collective, and why.
        source: ParallelError,
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
    /// `precision` is still `auto`.
    #[error("{0}.step.precision is auto: entering a run folder settles it (defusion_trainer::run::Run::enter)")]
    Unsettled(Stage),
    /// Weights given do not fit.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A public checkpoint cannot be imported.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// No restorer can be made of the networks.
    #[error("validation: {0}")]
    Restorer(#[from] RestorerError),
    /// A checkpoint lacks something or holds it in another shape.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

impl StageError {
    /// Returns whether starting the same command again can help.
    pub fn is_transient(&self) -> bool {
        self.exit_code() == EXIT_FAILED
    }

    /// Returns the worker's exit code, which tells the launcher whether to start again (`defusion_config::protocol`).
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Torch { .. } => EXIT_FAILED,
            Self::Parallel { source, .. } => source.exit_code(),
            Self::Diverged { .. } => EXIT_DIVERGED,
            Self::Unsettled(_) => EXIT_USAGE,
            Self::Weights(source) => source.exit_code(),
            Self::Import(source) => source.exit_code(),
            Self::Restorer(source) => source.exit_code(),
            Self::Checkpoint(source) => source.exit_code(),
        }
    }
}

/// What a step tells. The values stay on the device until somebody looks.
#[derive(Debug)]
pub struct StepReport {
    /// Scalars, `loss` first: means over this rank's samples, whose means over ranks by [`Batch::weight`] are logged; or
    /// values that are the same on all ranks.
    pub values: Vec<(&'static str, Tensor)>,
    /// The learning rate used.
    pub lr: f64,
    /// Seconds by part.
    pub times: Times,
}

/// Images for TensorBoard.
#[derive(Debug)]
pub struct ImageGrid {
    /// What the rows show: `a-z`, `0-9`, `_`.
    pub name: &'static str,
    /// Rows of images, each `[B, 3, H, W]` float32 in [-1, 1].
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

    /// All that the next step depends on, after `step` steps. Tensors are shared, not copied: who writes into them takes the
    /// stage back to a checkpoint.
    fn snapshot(&self, step: u64) -> Snapshot;

    /// What the networks make of `batch`, to be looked at.
    ///
    /// # Errors
    /// [`StageError`].
    fn images(&mut self, batch: &Batch) -> Result<Vec<ImageGrid>, StageError>;

    /// Lends `borrow` a restorer over the moving averages; does not call it in a stage that restores nothing.
    ///
    /// # Errors
    /// [`StageError::Restorer`] if the config's sampler or grounds cannot be used.
    fn with_restorer(&mut self, borrow: &mut dyn FnMut(&Restorer<'_>)) -> Result<(), StageError>;
}

/// This rank's share of a batch, for what is computed over all ranks.
fn share_of(batch: &Batch) -> BatchShare {
    BatchShare { weight: batch.weight, rows: batch.step_len as u64 }
}

/// A mean over this rank's samples, scaled so that the mean over ranks is that over all samples.
fn weighed(loss: &Tensor, weight: f64) -> Tensor {
    // Even shares weigh one, and keep their bits and their graph.
    if weight == 1.0 { loss.shallow_clone() } else { loss * weight }
}

/// `[len, 3, side, side]` float32 on `device` from a batch's plain memory.
fn image_tensor(values: &[f32], side: usize, device: Device) -> Result<Tensor, tch::TchError> {
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
