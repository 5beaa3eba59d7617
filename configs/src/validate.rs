//! Values that parse but cannot work.

use crate::{Config, LearningRate, StepOptions};

type Problem = (&'static str, String);

macro_rules! ensure {
    ($ok:expr, $key:expr, $($message:tt)*) => {
        if !$ok {
            return Err(($key, format!($($message)*)));
        }
    };
}

/// The first problem found: its dotted key and what to do.
pub(crate) fn validate(c: &Config) -> Result<(), Problem> {
    cluster(c)?;
    data(c)?;
    model(c)?;
    stages(c)
}

fn cluster(c: &Config) -> Result<(), Problem> {
    let k = &c.cluster;
    ensure!(k.nodes > 0, "cluster.nodes", "must be at least 1");
    ensure!(k.workers_per_node > 0, "cluster.workers_per_node", "must be at least 1");
    ensure!(
        k.hosts.is_empty() || k.hosts.len() == k.nodes as usize,
        "cluster.hosts",
        "{} hosts are listed but cluster.nodes is {}",
        k.hosts.len(),
        k.nodes
    );
    ensure!(k.hang_timeout_s > 0, "cluster.hang_timeout_s", "must be above 0");
    ensure!(
        k.first_step_timeout_s >= k.hang_timeout_s,
        "cluster.first_step_timeout_s",
        "must be at least cluster.hang_timeout_s"
    );
    ensure!(
        k.restart_backoff_s.is_finite() && k.restart_backoff_s >= 0.0,
        "cluster.restart_backoff_s",
        "must not be negative"
    );
    Ok(())
}

fn data(c: &Config) -> Result<(), Problem> {
    let d = &c.data;
    ensure!(!d.datasets.is_empty(), "data.datasets", "at least one dataset is needed");
    for set in &d.datasets {
        ensure!(
            set.weight.is_finite() && set.weight > 0.0,
            "data.datasets.weight",
            "dataset {} has weight {}; it must be above 0",
            set.name,
            set.weight
        );
        ensure!(
            set.synthesize.iter().all(|chain| !chain.is_empty()),
            "data.datasets.synthesize",
            "dataset {} has an empty chain",
            set.name
        );
    }
    for (i, set) in d.datasets.iter().enumerate() {
        ensure!(
            d.datasets[..i].iter().all(|other| other.name != set.name),
            "data.datasets",
            "dataset {} is listed twice",
            set.name
        );
    }
    for set in &c.evaluation.datasets {
        ensure!(
            set.synthesize.iter().all(|chain| !chain.is_empty()),
            "evaluation.datasets.synthesize",
            "dataset {} has an empty chain",
            set.name
        );
    }
    let levels = c.model.unet.channel_mult.len();
    let unit = 1u32 << levels.saturating_sub(1).min(16);
    ensure!(
        d.crop > 0 && d.crop.is_multiple_of(unit),
        "data.crop",
        "{} is no multiple of {unit}, which a U-Net of {levels} levels needs",
        d.crop
    );
    let g = &d.grounds;
    ensure!(
        g.canvas >= g.size && g.canvas.is_multiple_of(2),
        "data.grounds.canvas",
        "must be even and at least data.grounds.size"
    );
    let unit = 1u32 << c.model.tokenizer.ch_mult.len().saturating_sub(1).min(16);
    ensure!(
        g.size > 0 && g.size.is_multiple_of(unit),
        "data.grounds.size",
        "{} is no multiple of {unit}, which the tokenizer's levels need",
        g.size
    );
    let t = &d.targets;
    for (key, share) in [
        ("data.targets.all", t.all),
        ("data.targets.subset", t.subset),
        ("data.targets.superset", t.superset),
        ("data.targets.disjoint", t.disjoint),
    ] {
        ensure!(share.is_finite() && share >= 0.0, key, "must not be negative");
    }
    ensure!(t.all + t.subset + t.superset + t.disjoint > 0.0, "data.targets", "all shares are 0");
    ensure!(d.loader.prefetch > 0, "data.loader.prefetch", "must be at least 1");
    d.synthesis.problem().map_or(Ok(()), Err)
}

fn model(c: &Config) -> Result<(), Problem> {
    let m = &c.model;
    ensure!(!m.tokenizer.ch_mult.is_empty(), "model.tokenizer.ch_mult", "must not be empty");
    ensure!(
        m.tokenizer.ch > 0 && m.tokenizer.ch_mult.iter().all(|x| *x > 0 && (x * m.tokenizer.ch) % 32 == 0),
        "model.tokenizer.ch",
        "every level's width must be a multiple of 32, the number of groups of GroupNorm"
    );
    ensure!(
        m.tokenizer.attn_levels.iter().all(|l| *l < m.tokenizer.ch_mult.len()),
        "model.tokenizer.attn_levels",
        "names a level that ch_mult lacks"
    );
    ensure!(m.tokenizer.n_embed > 0 && m.tokenizer.embed_dim > 0, "model.tokenizer.n_embed", "must be above 0");
    let u = &m.unet;
    ensure!(!u.channel_mult.is_empty(), "model.unet.channel_mult", "must not be empty");
    ensure!(
        u.model_channels > 0 && u.channel_mult.iter().all(|x| *x > 0 && (x * u.model_channels) % 32 == 0),
        "model.unet.model_channels",
        "every level's width must be a multiple of 32, the number of groups of GroupNorm"
    );
    ensure!(u.num_res_blocks > 0, "model.unet.num_res_blocks", "must be at least 1");
    ensure!(
        u.out_channels == u.in_channels || u.out_channels == 2 * u.in_channels,
        "model.unet.out_channels",
        "must be in_channels, or twice that with a learned variance head"
    );
    ensure!(
        u.num_head_channels == -1 || u.num_head_channels > 0,
        "model.unet.num_head_channels",
        "must be -1 or above 0"
    );
    ensure!(
        m.bridge.channels.len() == u.channel_mult.len(),
        "model.bridge.channels",
        "has {} levels but the U-Net has {}",
        m.bridge.channels.len(),
        u.channel_mult.len()
    );
    Ok(())
}

fn stages(c: &Config) -> Result<(), Problem> {
    let t = &c.tokenizer;
    let world = u64::from(c.cluster.world_size());
    step_options(&t.step, ["tokenizer.step.accumulation", "tokenizer.step.bucket_mib"])?;
    step_options(&c.diffusion.step, ["diffusion.step.accumulation", "diffusion.step.bucket_mib"])?;
    for (key, batch, accumulation) in [
        ("tokenizer.global_batch", t.global_batch, t.step.accumulation),
        ("diffusion.global_batch", c.diffusion.global_batch, c.diffusion.step.accumulation),
    ] {
        let parts = world * u64::from(accumulation);
        ensure!(
            batch > 0 && batch.is_multiple_of(parts),
            key,
            "{batch} does not divide over {world} workers with accumulation {accumulation}"
        );
    }
    learning_rate(&t.lr, "tokenizer.lr")?;
    learning_rate(&c.diffusion.lr, "diffusion.lr")?;
    ensure!((0.0..=1.0).contains(&t.clean_ground), "tokenizer.clean_ground", "must be in [0, 1]");
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
    for (key, decay) in [("tokenizer.ema_decay", t.ema_decay), ("diffusion.ema_decay", c.diffusion.ema_decay)] {
        ensure!((0.0..1.0).contains(&decay), key, "must be in [0, 1)");
    }
    let s = &c.diffusion.sampler;
    ensure!(
        !s.timesteps.is_empty()
            && s.timesteps.windows(2).all(|w| w[0] > w[1])
            && s.timesteps.iter().all(|t| (0..c.diffusion.timesteps).contains(t)),
        "diffusion.sampler.timesteps",
        "must fall strictly and lie in 0..{}",
        c.diffusion.timesteps
    );
    ensure!(
        s.tile_stride > 0 && s.tile_stride <= s.tile,
        "diffusion.sampler.tile_stride",
        "must be above 0 and at most diffusion.sampler.tile"
    );
    ensure!(c.checkpoints.every > 0, "checkpoints.every", "must be above 0");
    ensure!(c.checkpoints.keep > 0, "checkpoints.keep", "must be at least 1");
    ensure!(c.monitor.log_every > 0, "monitor.log_every", "must be above 0");
    Ok(())
}

fn step_options(step: &StepOptions, keys: [&'static str; 2]) -> Result<(), Problem> {
    ensure!(step.accumulation > 0, keys[0], "must be at least 1");
    ensure!(step.bucket_mib > 0.0, keys[1], "must be above 0");
    Ok(())
}

fn learning_rate(lr: &LearningRate, key: &'static str) -> Result<(), Problem> {
    ensure!(
        lr.base.is_finite() && lr.base > 0.0 && lr.min.is_none_or(|m| m >= 0.0 && m <= lr.base),
        key,
        "base must be above 0 and min between 0 and base"
    );
    Ok(())
}
