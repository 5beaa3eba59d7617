//! `model`.

use super::{Problem, ensure, within};
use crate::{Model, TokenizerArch, UnetArch};

/// Groups of both references' GroupNorm.
const GROUPS: i64 = 32;
const WIDEST: i64 = 65_536;
/// Levels of a network; each halves the picture.
const MOST_LEVELS: usize = 10;
const MOST_BLOCKS: i64 = 64;

pub(super) fn validate(m: &Model) -> Result<(), Problem> {
    tokenizer(&m.tokenizer)?;
    within("model.discriminator.ndf", m.discriminator.ndf, 1, WIDEST)?;
    within("model.discriminator.n_layers", m.discriminator.n_layers, 1, 8)?;
    unet(&m.unet)?;
    let (levels, bridge) = (m.unet.channel_mult.len(), &m.bridge);
    ensure!(
        bridge.channels.len() == levels,
        "model.bridge.channels",
        "has {} levels but the U-Net has {levels}",
        bridge.channels.len()
    );
    bridge.channels.iter().try_for_each(|c| within("model.bridge.channels", *c, 1, WIDEST))?;
    within("model.bridge.num_res_blocks", bridge.num_res_blocks, 0, MOST_BLOCKS)?;
    within("model.adapter.context_dim", m.adapter.context_dim, 1, WIDEST)?;
    ensure!(m.adapter.scale.is_finite(), "model.adapter.scale", "is {}; it must be finite", m.adapter.scale);
    Ok(())
}

fn tokenizer(t: &TokenizerArch) -> Result<(), Problem> {
    within("model.tokenizer.ch", t.ch, 1, WIDEST)?;
    widths("model.tokenizer.ch_mult", t.ch, &t.ch_mult)?;
    within("model.tokenizer.num_res_blocks", t.num_res_blocks, 1, MOST_BLOCKS)?;
    ensure!(
        t.attn_levels.iter().all(|level| *level < t.ch_mult.len()),
        "model.tokenizer.attn_levels",
        "{:?} names a level that ch_mult lacks; levels count from 0",
        t.attn_levels
    );
    within("model.tokenizer.z_channels", t.z_channels, 1, WIDEST)?;
    within("model.tokenizer.n_embed", t.n_embed, 1, 1 << 24)?;
    within("model.tokenizer.embed_dim", t.embed_dim, 1, WIDEST)?;
    dropout("model.tokenizer.dropout", t.dropout)
}

fn unet(u: &UnetArch) -> Result<(), Problem> {
    within("model.unet.model_channels", u.model_channels, 1, WIDEST)?;
    widths("model.unet.channel_mult", u.model_channels, &u.channel_mult)?;
    within("model.unet.num_res_blocks", u.num_res_blocks, 1, MOST_BLOCKS)?;
    ensure!(u.in_channels == 3, "model.unet.in_channels", "is {}; y_t has 3 channels", u.in_channels);
    ensure!(
        [3, 6].contains(&u.out_channels),
        "model.unet.out_channels",
        "is {}; it must be 3, or 6 with a learned variance head",
        u.out_channels
    );
    // guided-diffusion leaves out, without a word, what matches no level.
    let levels = u.channel_mult.len();
    let is_level = |factor: &i64| (0..levels).any(|level| *factor == 1 << level);
    ensure!(
        u.attention_downsamples.iter().all(is_level),
        "model.unet.attention_downsamples",
        "{:?}: each must be a power of two from 1 to {}, the factors of {levels} levels",
        u.attention_downsamples,
        1 << (levels - 1)
    );
    let heads = u.num_head_channels;
    ensure!(heads == -1 || heads > 0, "model.unet.num_head_channels", "is {heads}; it must be -1 or above 0");
    within("model.unet.num_heads", u.num_heads, 1, WIDEST)?;
    for (level, mult) in u.channel_mult.iter().enumerate() {
        // The middle attends too, at the last level's width.
        if level + 1 < levels && !u.attention_downsamples.contains(&(1 << level)) {
            continue;
        }
        let width = mult * u.model_channels;
        let (key, divisor) = match heads {
            -1 => ("model.unet.num_heads", u.num_heads),
            channels => ("model.unet.num_head_channels", channels),
        };
        ensure!(width % divisor == 0, key, "{divisor} does not divide the {width} channels of level {level}");
    }
    dropout("model.unet.dropout", u.dropout)
}

fn widths(key: &'static str, base: i64, mult: &[i64]) -> Result<(), Problem> {
    within(key, mult.len(), 1, MOST_LEVELS)?;
    for m in mult {
        within(key, *m, 1, 64)?;
        let width = m * base;
        ensure!(
            width % GROUPS == 0,
            key,
            "a level is {m} x {base} = {width} wide; it must be a multiple of {GROUPS}, the groups of GroupNorm"
        );
    }
    Ok(())
}

fn dropout(key: &'static str, p: f64) -> Result<(), Problem> {
    ensure!((0.0..1.0).contains(&p), key, "is {p}; it must be at least 0 and below 1");
    Ok(())
}
