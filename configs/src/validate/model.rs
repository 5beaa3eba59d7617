//! `model`.

use super::{Problem, ensure};
use crate::{Model, TokenizerArch, UnetArch};

/// Groups of both references' GroupNorm.
const GROUPS: i64 = 32;

pub(super) fn validate(m: &Model) -> Result<(), Problem> {
    tokenizer(&m.tokenizer)?;
    unet(&m.unet)?;
    let (levels, bridge) = (m.unet.channel_mult.len(), &m.bridge);
    ensure!(
        bridge.channels.len() == levels,
        "model.bridge.channels",
        "has {} levels but the U-Net has {levels}",
        bridge.channels.len()
    );
    Ok(())
}

fn tokenizer(t: &TokenizerArch) -> Result<(), Problem> {
    widths("model.tokenizer.ch_mult", t.ch, &t.ch_mult)?;
    ensure!(
        t.attn_levels.iter().all(|level| *level < t.ch_mult.len()),
        "model.tokenizer.attn_levels",
        "{:?} names a level that ch_mult lacks; levels count from 0",
        t.attn_levels
    );
    Ok(())
}

fn unet(u: &UnetArch) -> Result<(), Problem> {
    widths("model.unet.channel_mult", u.model_channels, &u.channel_mult)?;
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
    Ok(())
}

fn widths(key: &'static str, base: i64, mult: &[i64]) -> Result<(), Problem> {
    for m in mult {
        let width = m * base;
        ensure!(
            width % GROUPS == 0,
            key,
            "a level is {m} x {base} = {width} wide; it must be a multiple of {GROUPS}, the groups of GroupNorm"
        );
    }
    Ok(())
}
