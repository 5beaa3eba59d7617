//! `tokenizer`, `diffusion` and `checkpoints`.

use super::data::unit;
use super::{Problem, ensure};
use crate::{ActivationCheckpointing, Config, DiffusionStage, LearningRate, StepOptions, TokenizerStage};

pub(super) fn validate(c: &Config) -> Result<(), Problem> {
    let world = u64::from(c.cluster.world_size());
    let (t, d) = (&c.tokenizer, &c.diffusion);
    both("tokenizer", t.iterations, t.global_batch, &t.lr, &t.step, world)?;
    both("diffusion", d.iterations, d.global_batch, &d.lr, &d.step, world)?;
    tokenizer(t)?;
    diffusion(d, c.model.unet.channel_mult.len())?;
    let every = c.checkpoints.every;
    ensure!(
        c.checkpoints.keep_every.is_multiple_of(every),
        "checkpoints.keep_every",
        "{} is no multiple of checkpoints.every, {every}: no checkpoint is taken there",
        c.checkpoints.keep_every
    );
    Ok(())
}

/// Checks what both stages have.
fn both(
    stage: &str,
    iterations: u64,
    global_batch: u64,
    lr: &LearningRate,
    step: &StepOptions,
    world: u64,
) -> Result<(), Problem> {
    // With one micro-batch the workers' shares may be uneven, or empty; a stage that is skipped has none.
    let accumulation = step.accumulation;
    ensure!(
        accumulation == 1 || iterations == 0 || global_batch.is_multiple_of(world * u64::from(accumulation)),
        format!("{stage}.global_batch"),
        "{global_batch} does not divide over {world} workers with accumulation {accumulation}: \
         set {stage}.step.accumulation=1, with which any batch divides, or another number of workers"
    );
    ensure!(
        lr.min.is_none_or(|min| min <= lr.base),
        format!("{stage}.lr.min"),
        "is {}; it must be at most {stage}.lr.base, {}",
        lr.min.unwrap_or_default(),
        lr.base
    );
    ensure!(
        lr.warmup == 0 || iterations == 0 || lr.warmup < iterations,
        format!("{stage}.lr.warmup"),
        "takes {} steps, but there are {iterations}",
        lr.warmup
    );
    let budget = step.activation_checkpointing == ActivationCheckpointing::Budget;
    ensure!(
        step.activation_gib.is_some() == budget,
        format!("{stage}.step.activation_gib"),
        "must be given if activation_checkpointing is budget, and only then"
    );
    Ok(())
}

fn tokenizer(t: &TokenizerStage) -> Result<(), Problem> {
    ensure!(
        t.iterations > 0 || t.pretrained.is_some(),
        "tokenizer.iterations",
        "is 0, so tokenizer.pretrained must name the weights"
    );
    ensure!(
        t.perceptual_weight == 0.0 || t.perceptual_weights.is_some() || t.iterations == 0,
        "tokenizer.perceptual_weights",
        "must name the LPIPS weights (scripts/lpips-weights makes them), or set tokenizer.perceptual_weight: 0"
    );
    Ok(())
}

fn diffusion(d: &DiffusionStage, levels: usize) -> Result<(), Problem> {
    let s = &d.sampler;
    ensure!(
        !s.timesteps.is_empty()
            && s.timesteps.windows(2).all(|w| w[0] > w[1])
            && s.timesteps.iter().all(|t| (0..d.timesteps).contains(t)),
        "diffusion.sampler.timesteps",
        "{:?} must fall strictly and lie in 0..{}",
        s.timesteps,
        d.timesteps
    );
    let (levels, unit) = unit(levels);
    ensure!(
        s.tile.is_multiple_of(unit),
        "diffusion.sampler.tile",
        "{} is no multiple of {unit}, which a U-Net of {levels} levels needs",
        s.tile
    );
    ensure!(
        s.tile_stride <= s.tile,
        "diffusion.sampler.tile_stride",
        "is {}; it must be at most diffusion.sampler.tile, {}",
        s.tile_stride,
        s.tile
    );
    Ok(())
}
