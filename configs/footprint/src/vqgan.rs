//! The tokenizer (taming-transformers' VQGAN) and its discriminator.

use defusion_config::{DiscriminatorArch, TokenizerArch};

use crate::trace::{Network, n};

/// Walks the tokenizer over instructions of `size` pixels.
pub fn tokenizer(arch: &TokenizerArch, size: u32) -> Network {
    let mut net = Network::default();
    let levels = arch.ch_mult.len();
    let width = |level: usize| n(arch.ch) * n(arch.ch_mult[level]);
    let area = |level: usize| (u64::from(size) >> level).pow(2);
    let (top, coarsest) = (width(levels - 1), area(levels - 1));
    let blocks = n(arch.num_res_blocks);
    let attends = |level: usize| arch.attn_levels.contains(&level);

    net.conv("encoder.conv_in", [3, n(arch.ch)], 3, area(0));
    for level in 0..levels {
        let cin = if level == 0 { n(arch.ch) } else { width(level - 1) };
        let at = format!("encoder.down.{level}");
        self::level(&mut net, &at, [cin, width(level)], blocks, attends(level), area(level));
        if level + 1 < levels {
            net.conv(&format!("{at}.downsample.conv"), [width(level); 2], 3, area(level));
        }
    }
    middle(&mut net, "encoder.mid", top, coarsest);
    net.norm_silu("encoder.norm_out", top, coarsest);
    net.conv("encoder.conv_out", [top, n(arch.z_channels)], 3, coarsest);

    net.conv("decoder.conv_in", [n(arch.z_channels), top], 3, coarsest);
    middle(&mut net, "decoder.mid", top, coarsest);
    for level in (0..levels).rev() {
        let cin = width((level + 1).min(levels - 1));
        let at = format!("decoder.up.{level}");
        self::level(&mut net, &at, [cin, width(level)], blocks + 1, attends(level), area(level));
        if level > 0 {
            net.conv(&format!("{at}.upsample.conv"), [width(level); 2], 3, area(level - 1));
        }
    }
    net.norm_silu("decoder.norm_out", width(0), area(0));
    net.conv("decoder.conv_out", [width(0), 3], 3, area(0));

    net.parameter("quantize.embedding.weight".into(), &[n(arch.n_embed), n(arch.embed_dim)]);
    net.conv("quant_conv", [n(arch.z_channels), n(arch.embed_dim)], 1, coarsest);
    net.conv("post_quant_conv", [n(arch.embed_dim), n(arch.z_channels)], 1, coarsest);
    net
}

fn level(net: &mut Network, at: &str, [cin, cout]: [u64; 2], blocks: u64, attends: bool, area: u64) {
    for i in 0..blocks {
        res_block(net, &format!("{at}.block.{i}"), [if i == 0 { cin } else { cout }, cout], area);
        if attends {
            attention(net, &format!("{at}.attn.{i}"), cout, area);
        }
    }
}

fn middle(net: &mut Network, at: &str, ch: u64, area: u64) {
    res_block(net, &format!("{at}.block_1"), [ch, ch], area);
    attention(net, &format!("{at}.attn_1"), ch, area);
    res_block(net, &format!("{at}.block_2"), [ch, ch], area);
}

fn res_block(net: &mut Network, at: &str, [cin, cout]: [u64; 2], area: u64) {
    net.block(cin, area, |net| {
        net.norm_silu(&format!("{at}.norm1"), cin, area);
        net.conv(&format!("{at}.conv1"), [cin, cout], 3, area);
        net.norm_silu(&format!("{at}.norm2"), cout, area);
        net.conv(&format!("{at}.conv2"), [cout, cout], 3, area);
        if cin != cout {
            net.conv(&format!("{at}.nin_shortcut"), [cin, cout], 1, area);
        }
    });
}

fn attention(net: &mut Network, at: &str, ch: u64, area: u64) {
    net.block(ch, area, |net| {
        net.norm(&format!("{at}.norm"), ch, area);
        for part in ["q", "k", "v"] {
            net.conv(&format!("{at}.{part}"), [ch, ch], 1, area);
        }
        net.conv(&format!("{at}.proj_out"), [ch, ch], 1, area);
        // The attention's own output; its q, k and v stand for the inputs counted with the convolutions.
        net.keep(ch, area);
    });
}

/// Walks the discriminator over images of `size` pixels.
pub fn discriminator(arch: &DiscriminatorArch, size: u32) -> Network {
    let mut net = Network::default();
    let layers = n(arch.n_layers);
    let width = |i: u64| n(arch.ndf) << i.min(3);
    let mut side = u64::from(size);
    net.conv("main.0", [3, width(0)], 4, side * side);
    side /= 2;
    for i in 1..=layers {
        let at = 3 * i - 1;
        net.conv_without_bias(&format!("main.{at}"), [width(i - 1), width(i)], 4, side * side);
        side = if i < layers { side / 2 } else { side.saturating_sub(1) };
        net.norm(&format!("main.{}", at + 1), width(i), side * side);
        // LeakyReLU.
        net.keep_high(width(i), side * side);
    }
    net.conv(&format!("main.{}", 3 * layers + 2), [width(layers), 1], 4, side * side);
    net
}
