//! `tokenizer`, `diffusion`, `checkpoints` and `monitor`.

use super::data::unit;
use super::{Problem, ensure, not_negative, positive, within};
use crate::{ActivationCheckpointing, Adam, Config, DiffusionStage, LearningRate, StepOptions, TokenizerStage};

/// The keys of what both stages have, for messages.
struct Keys {
    iterations: &'static str,
    global_batch: &'static str,
    lr: &'static str,
    adam: &'static str,
    ema_decay: &'static str,
    accumulation: &'static str,
    bucket_mib: &'static str,
    max_nonfinite: &'static str,
    activation_gib: &'static str,
}

const TOKENIZER: Keys = Keys {
    iterations: "tokenizer.iterations",
    global_batch: "tokenizer.global_batch",
    lr: "tokenizer.lr",
    adam: "tokenizer.adam",
    ema_decay: "tokenizer.ema_decay",
    accumulation: "tokenizer.step.accumulation",
    bucket_mib: "tokenizer.step.bucket_mib",
    max_nonfinite: "tokenizer.step.max_nonfinite",
    activation_gib: "tokenizer.step.activation_gib",
};

const DIFFUSION: Keys = Keys {
    iterations: "diffusion.iterations",
    global_batch: "diffusion.global_batch",
    lr: "diffusion.lr",
    adam: "diffusion.adam",
    ema_decay: "diffusion.ema_decay",
    accumulation: "diffusion.step.accumulation",
    bucket_mib: "diffusion.step.bucket_mib",
    max_nonfinite: "diffusion.step.max_nonfinite",
    activation_gib: "diffusion.step.activation_gib",
};

pub(super) fn validate(c: &Config) -> Result<(), Problem> {
    let world = u64::from(c.cluster.world_size());
    let (t, d) = (&c.tokenizer, &c.diffusion);
    both(&TOKENIZER, t.iterations, t.global_batch, &t.lr, &t.adam, t.ema_decay, &t.step, world)?;
    both(&DIFFUSION, d.iterations, d.global_batch, &d.lr, &d.adam, d.ema_decay, &d.step, world)?;
    tokenizer(t)?;
    diffusion(d, c.model.unet.channel_mult.len())?;
    let every = c.checkpoints.every;
    within("checkpoints.every", every, 1, u64::MAX)?;
    within("checkpoints.keep", c.checkpoints.keep, 1, u32::MAX)?;
    ensure!(
        c.checkpoints.keep_every.is_multiple_of(every),
        "checkpoints.keep_every",
        "{} is no multiple of checkpoints.every, {every}: no checkpoint is taken there",
        c.checkpoints.keep_every
    );
    within("monitor.log_every", c.monitor.log_every, 1, u64::MAX)
}

// Both stages' settings, spelled out: a trait for eight fields would say less.
#[allow(clippy::too_many_arguments)]
fn both(
    keys: &Keys,
    iterations: u64,
    global_batch: u64,
    lr: &LearningRate,
    adam: &Adam,
    ema_decay: f64,
    step: &StepOptions,
    world: u64,
) -> Result<(), Problem> {
    within(keys.iterations, iterations, 0, 1 << 40)?;
    within(keys.accumulation, step.accumulation, 1, 1 << 20)?;
    within(keys.global_batch, global_batch, 1, 1 << 20)?;
    let accumulation = step.accumulation;
    ensure!(
        global_batch.is_multiple_of(world * u64::from(accumulation)),
        keys.global_batch,
        "{global_batch} does not divide over {world} workers with accumulation {accumulation}"
    );
    ensure!(
        lr.base.is_finite() && lr.base > 0.0 && lr.min.is_none_or(|min| min >= 0.0 && min <= lr.base),
        keys.lr,
        "base must be above 0 and min between 0 and base"
    );
    ensure!(
        lr.warmup == 0 || iterations == 0 || lr.warmup < iterations,
        keys.lr,
        "warmup takes {} steps, but there are {iterations}",
        lr.warmup
    );
    ensure!(
        [adam.beta1, adam.beta2].iter().all(|beta| (0.0..1.0).contains(beta)),
        keys.adam,
        "beta1 and beta2 must be at least 0 and below 1"
    );
    positive(keys.adam, adam.eps)?;
    not_negative(keys.adam, adam.weight_decay)?;
    ensure!((0.0..1.0).contains(&ema_decay), keys.ema_decay, "is {ema_decay}; it must be at least 0 and below 1");
    positive(keys.bucket_mib, step.bucket_mib)?;
    let budget = step.activation_checkpointing == ActivationCheckpointing::Budget;
    ensure!(
        step.activation_gib.is_some() == budget && step.activation_gib.is_none_or(|gib| gib > 0.0),
        keys.activation_gib,
        "must be given, above 0, where activation_checkpointing is budget, and nowhere else"
    );
    within(keys.max_nonfinite, step.max_nonfinite, 1, u32::MAX)
}

fn tokenizer(t: &TokenizerStage) -> Result<(), Problem> {
    within("tokenizer.clean_ground", t.clean_ground, 0.0, 1.0)?;
    not_negative("tokenizer.perceptual_weight", t.perceptual_weight)?;
    not_negative("tokenizer.codebook_weight", t.codebook_weight)?;
    not_negative("tokenizer.adversarial_weight", t.adversarial_weight)?;
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
    not_negative("diffusion.clip_norm", d.clip_norm)?;
    within("diffusion.timesteps", d.timesteps, 1, 1_000_000)?;
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
    within("diffusion.sampler.eta", s.eta, 0.0, 1.0)?;
    let (levels, unit) = unit(levels);
    within("diffusion.sampler.tile", s.tile, 1, 8192)?;
    ensure!(
        s.tile.is_multiple_of(unit),
        "diffusion.sampler.tile",
        "{} is no multiple of {unit}, which a U-Net of {levels} levels needs",
        s.tile
    );
    within("diffusion.sampler.tile_stride", s.tile_stride, 1, s.tile)
}
