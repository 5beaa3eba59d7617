//! What each stage does and needs.

use defusion_config::{ActivationCheckpointing, Arithmetic, Config, Stage, StepOptions};
use defusion_footprint::{Memory, checkpoint_bytes, memory};
use serde::Serialize;

/// Crops of one epoch: 600K steps of 32 crops are the paper's 100 epochs.
pub const CROPS_PER_EPOCH: f64 = 192_000.0;

/// What one stage does and needs.
#[derive(Clone, Debug, Serialize)]
pub struct StagePlan {
    /// The stage.
    pub stage: Stage,
    /// Number of optimizer steps.
    pub steps: u64,
    /// Samples per step over all workers.
    pub global_batch: u64,
    /// Samples per step on one worker; on some, one less, if they do not divide.
    pub worker_batch: u64,
    /// Workers that have samples; the others only take part in the all-reduces.
    pub busy_workers: u64,
    /// Micro-batches that a worker's samples are computed in.
    pub accumulation: u32,
    /// Samples over the whole stage.
    pub samples: u64,
    /// The same in epochs of [`CROPS_PER_EPOCH`].
    pub epochs: f64,
    /// Arithmetic of forward and backward.
    pub precision: Arithmetic,
    /// How it was chosen, a clause.
    pub precision_why: String,
    /// What is recomputed in backward.
    pub activation_checkpointing: ActivationCheckpointing,
    /// Estimated memory of one worker, bytes by part.
    pub memory: Memory,
    /// Sum of `memory`, bytes.
    pub memory_bytes: u64,
    /// Size of one checkpoint, bytes.
    pub checkpoint_bytes: u64,
}

impl StagePlan {
    /// Works out the plan of one stage of a valid config, whose precision is settled, and why so.
    pub(super) fn new(config: &Config, stage: Stage, precision_why: String) -> Self {
        let (steps, global_batch, step): (u64, u64, &StepOptions) = match stage {
            Stage::Tokenizer => (config.tokenizer.iterations, config.tokenizer.global_batch, &config.tokenizer.step),
            Stage::Diffusion => (config.diffusion.iterations, config.diffusion.global_batch, &config.diffusion.step),
        };
        let world = u64::from(config.cluster.world_size());
        let memory = memory(config, stage);
        let samples = steps.saturating_mul(global_batch);
        Self {
            stage,
            steps,
            global_batch,
            worker_batch: global_batch.div_ceil(world),
            busy_workers: global_batch.min(world),
            accumulation: step.accumulation,
            samples,
            epochs: samples as f64 / CROPS_PER_EPOCH,
            // Settled before; bf16 otherwise, as digests have it.
            precision: step.precision.resolve(true),
            precision_why,
            activation_checkpointing: step.activation_checkpointing,
            memory,
            memory_bytes: memory.total(),
            checkpoint_bytes: checkpoint_bytes(config, stage),
        }
    }

    /// Returns the most that the stage's checkpoints take when the run has ended, bytes: those at multiples of `keep_every`,
    /// and the newest one of the first stage, the newest few of the last.
    pub fn kept_bytes(&self, config: &Config) -> u64 {
        let c = &config.checkpoints;
        let taken = self.steps.div_ceil(c.every);
        let for_ever = self.steps.checked_div(c.keep_every).unwrap_or(0);
        let newest = if self.stage == Stage::Diffusion { u64::from(c.keep) } else { 1 };
        self.checkpoint_bytes.saturating_mul((for_ever + newest).min(taken))
    }
}
