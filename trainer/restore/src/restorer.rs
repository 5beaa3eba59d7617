//! Restoring whole images: categories -> instruction -> tokens -> sampling -> image.

use defusion_config::protocol::EXIT_USAGE;
use defusion_config::{AdapterArch, Arithmetic, Config, Degradation, Prediction, Sampler, Severity, Synthesis};
use defusion_imaging::ground::{GroundError, Pool};
use defusion_imaging::instruction::{self, Instruction};
use defusion_imaging::{Image, Rng};
use defusion_torch::TorchError;
use tch::{Device, Tensor};

use crate::memory::{RestoreMemory, memory, tile_bytes};
use crate::sampling::Sampling;
use crate::tensors::{from_tensor, to_tensor};
use defusion_model::diffusion::schedule::Schedule;
use defusion_model::diffusion::tiling::reflect_pad;
use defusion_model::networks::defusion::DefusionUnet;
use defusion_model::networks::tokenizer::Tokenizer;

/// Stream of a job's seed that the instruction is drawn from.
const GROUND: u64 = 1;

/// Why nothing can be restored with a config.
#[derive(Debug, thiserror::Error)]
pub enum RestorerError {
    /// The user's ground images cannot be used.
    #[error(transparent)]
    Ground(#[from] GroundError),
    /// The tile does not fit the U-Net.
    #[error("diffusion.sampler.tile: {tile} is no multiple of {unit}, which the U-Net's levels need")]
    Tile {
        /// As configured.
        tile: u32,
        /// What it must be a multiple of.
        unit: i64,
    },
    /// Images of one batch differ in size.
    #[error("images of {0}x{1} and {2}x{3} pixels cannot be restored in one batch")]
    Sizes(usize, usize, usize, usize),
    /// An image without pixels.
    #[error("the image is empty: {0}x{1} pixels")]
    Empty(usize, usize),
    /// libtorch refused.
    #[error(transparent)]
    Torch(#[from] TorchError),
    /// The networks gave no image.
    #[error("the networks gave values that are not finite: the weights are damaged, or their training diverged")]
    NotFinite,
}

impl RestorerError {
    /// Returns whether the same command can succeed later: only if libtorch failed; else what is configured or given has to
    /// change.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Torch(source) if source.is_transient())
    }

    /// Returns the exit code of a program that fails of it (`defusion_config::protocol`).
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Torch(source) => source.exit_code(),
            _ => EXIT_USAGE,
        }
    }
}

/// One image to be restored.
#[derive(Clone, Copy, Debug)]
pub struct Job<'p> {
    /// The degraded image x_LQ.
    pub image: &'p Image,
    /// What the instruction says to remove, in the order in which it happened; nothing: remove nothing.
    pub categories: &'p [Degradation],
    /// How strong they are drawn on the instruction's ground.
    pub severity: Severity,
    /// Seed of the ground, of the degradations on it, and of y_T.
    pub seed: u64,
}

/// What came of a [`Job`].
#[derive(Clone, Debug)]
pub struct Restored {
    /// The restored image, as large as the degraded one, in [0, 1], not rounded.
    pub image: Image,
    /// The instruction that was given.
    pub instruction: Instruction,
}

/// Restores images with networks that it borrows: loaded ones, or those of a run in training.
#[derive(Debug)]
pub struct Restorer<'n> {
    tokenizer: &'n Tokenizer,
    unet: &'n DefusionUnet,
    device: Device,
    arithmetic: Arithmetic,
    schedule: Schedule,
    sampler: Sampler,
    prediction: Prediction,
    adapter: AdapterArch,
    synthesis: Synthesis,
    pool: Pool,
    /// Height and width are padded to multiples of this.
    unit: i64,
    batch: usize,
    /// What the U-Net holds for one tile, bytes.
    tile_bytes: u64,
}

impl<'n> Restorer<'n> {
    /// A restorer of the given networks, which live on `device`. From `config` come the sampler, the schedule, the grounds
    /// and the ranges of the degradations drawn on them; not the precision: the U-Net computes in `arithmetic`. The tokenizer
    /// stays float32 as in training, since which code is nearest must not depend on it. `batch` is the number of tiles that
    /// the U-Net sees at once.
    ///
    /// # Errors
    /// [`RestorerError`], which names the config key.
    pub fn new(
        tokenizer: &'n Tokenizer,
        unet: &'n DefusionUnet,
        config: &Config,
        device: Device,
        arithmetic: Arithmetic,
        batch: usize,
    ) -> Result<Self, RestorerError> {
        let unit = 1i64 << config.model.unet.channel_mult.len().saturating_sub(1);
        let sampler = config.diffusion.sampler.clone();
        if sampler.tile == 0 || i64::from(sampler.tile) % unit != 0 {
            return Err(RestorerError::Tile { tile: sampler.tile, unit });
        }
        Ok(Self {
            tokenizer,
            unet,
            device,
            arithmetic,
            schedule: Schedule::new(config.diffusion.schedule, config.diffusion.timesteps),
            sampler,
            prediction: config.diffusion.prediction,
            adapter: config.model.adapter.clone(),
            synthesis: config.data.synthesis.clone(),
            pool: Pool::open(&config.data.grounds)?,
            unit,
            batch: batch.max(1),
            tile_bytes: tile_bytes(config),
        })
    }

    /// Tiles that the U-Net sees at once.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Estimates the memory that restoring an image of `width` x `height` takes, beside the networks and the image itself.
    pub fn memory(&self, width: usize, height: usize) -> RestoreMemory {
        let tile = self.sampler.tile as usize;
        let share = (width.min(tile) * height.min(tile)) as f64 / (tile * tile) as f64;
        let tiles = width.div_ceil(tile) * height.div_ceil(tile);
        let at_once = (self.batch.min(tiles) as u64 * self.tile_bytes) as f64 * share;
        memory(width, height, at_once as u64, self.device != Device::Cpu)
    }

    /// Restores one image of any size.
    ///
    /// # Errors
    /// [`RestorerError::Empty`], [`RestorerError::NotFinite`], [`RestorerError::Torch`].
    pub fn restore(&self, job: Job<'_>) -> Result<Restored, RestorerError> {
        let mut restored = self.restore_all(&[job])?;
        restored.pop().ok_or(RestorerError::Empty(0, 0))
    }

    /// Restores images of one size together, which is faster. An image's result does not depend on what it is batched
    /// with, but for rounding, and nothing is drawn from libtorch's generator.
    ///
    /// # Errors
    /// [`RestorerError::Sizes`], [`RestorerError::Empty`], [`RestorerError::NotFinite`], [`RestorerError::Torch`].
    pub fn restore_all(&self, jobs: &[Job<'_>]) -> Result<Vec<Restored>, RestorerError> {
        let Some(first) = jobs.first() else { return Ok(Vec::new()) };
        let (width, height) = (first.image.width(), first.image.height());
        if width == 0 || height == 0 {
            return Err(RestorerError::Empty(width, height));
        }
        if let Some(other) = jobs.iter().map(|j| j.image).find(|p| (p.width(), p.height()) != (width, height)) {
            return Err(RestorerError::Sizes(width, height, other.width(), other.height()));
        }
        let _guard = tch::no_grad_guard();
        let instructions: Vec<Instruction> = jobs.iter().map(|job| self.instruct(job)).collect();
        let tokens = self.adapter.enabled.then(|| self.tokens(&instructions));
        let padded = reflect_pad(&to_tensor(jobs.iter().map(|job| job.image), self.device), self.unit);
        let seeds: Vec<u64> = jobs.iter().map(|job| job.seed).collect();
        let sampling = Sampling {
            unet: self.unet,
            schedule: &self.schedule,
            sampler: &self.sampler,
            prediction: self.prediction,
            arithmetic: self.arithmetic,
            batch: self.batch,
        };
        let restored = sampling.restore(&padded, tokens.as_ref(), &seeds)?;
        drop(padded);
        let restored = restored.narrow(2, 0, height as i64).narrow(3, 0, width as i64);
        let images = from_tensor(&restored);
        if images.iter().any(|image| !image.data().iter().all(|v| v.is_finite())) {
            return Err(RestorerError::NotFinite);
        }
        Ok(images.into_iter().zip(instructions).map(|(image, instruction)| Restored { image, instruction }).collect())
    }

    fn instruct(&self, job: &Job<'_>) -> Instruction {
        let mut rng = Rng::new(job.seed, &[GROUND]);
        instruction::centered(&self.pool, &self.synthesis, job.categories, job.severity, None, &mut rng)
    }

    /// `[B, tokens, embed_dim]`.
    fn tokens(&self, instructions: &[Instruction]) -> Tensor {
        let v = to_tensor(instructions.iter().map(|i| &i.v), self.device);
        let null = to_tensor(instructions.iter().map(|i| &i.null), self.device);
        self.tokenizer.residual_tokens(&v, &null, self.adapter.pre_quantization)
    }
}
