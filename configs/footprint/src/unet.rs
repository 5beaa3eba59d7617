//! The U-Net of guided-diffusion, plain or with bridge and adapter.

use defusion_config::{Model, UnetArch};

use crate::bridge::{self, Heads};
use crate::trace::{Network, n};

/// Walks the plain U-Net over crops of `crop` pixels.
pub fn unet(arch: &UnetArch, crop: u32) -> Network {
    Walk::new(arch, crop, "", None).run()
}

/// Walks U-Net (`unet.`), bridge (`bridge.`) and, if it is enabled, adapter (`adapter.`), over crops of `crop` pixels and
/// instructions of `tokens` tokens.
pub fn diffusion(model: &Model, crop: u32, tokens: u64) -> Network {
    let walk = Walk::new(&model.unet, crop, "unet.", Some((model, tokens)));
    let area = walk.areas();
    let mut net = walk.run();
    bridge::pyramid(&mut net, &model.bridge, |level| area[level]);
    if model.adapter.enabled {
        bridge::adapter(&mut net, model, tokens);
    }
    net
}

#[derive(Clone, Copy, PartialEq)]
enum Resample {
    None,
    Up,
    Down,
}

struct Walk<'a> {
    arch: &'a UnetArch,
    crop: u32,
    prefix: &'static str,
    additions: Option<(&'a Model, u64)>,
    heads: Heads,
    net: Network,
}

impl<'a> Walk<'a> {
    fn new(arch: &'a UnetArch, crop: u32, prefix: &'static str, additions: Option<(&'a Model, u64)>) -> Self {
        Self { arch, crop, prefix, additions, heads: Heads::default(), net: Network::default() }
    }

    fn width(&self, level: usize) -> u64 {
        n(self.arch.model_channels) * n(self.arch.channel_mult[level])
    }

    fn area(&self, level: usize) -> u64 {
        (u64::from(self.crop) >> level).pow(2)
    }

    fn areas(&self) -> Vec<u64> {
        (0..self.arch.channel_mult.len()).map(|level| self.area(level)).collect()
    }

    fn attends(&self, level: usize) -> bool {
        self.arch.attention_downsamples.contains(&(1 << level))
    }

    /// Walks block by block, as guided-diffusion builds the network.
    fn run(mut self) -> Network {
        let (arch, p) = (self.arch, self.prefix);
        let levels = arch.channel_mult.len();
        let embedding = 4 * n(arch.model_channels);
        self.net.linear(&format!("{p}time_embed.0"), [n(arch.model_channels), embedding], 1);
        self.net.linear(&format!("{p}time_embed.2"), [embedding, embedding], 1);

        let mut ch = self.width(0);
        self.net.conv(&format!("{p}input_blocks.0.0"), [n(arch.in_channels), ch], 3, self.area(0));
        let mut skips = vec![ch];
        for level in 0..levels {
            for _ in 0..arch.num_res_blocks {
                let at = format!("{p}input_blocks.{}", skips.len());
                let width = self.width(level);
                self.res_block(&format!("{at}.0"), [ch, width], level, Resample::None, true);
                ch = width;
                if self.attends(level) {
                    self.attention(&format!("{at}.1"), ch, level);
                }
                skips.push(ch);
            }
            if level + 1 < levels {
                let at = format!("{p}input_blocks.{}.0", skips.len());
                if arch.resblock_updown {
                    self.res_block(&at, [ch, ch], level + 1, Resample::Down, true);
                } else {
                    self.net.conv(&format!("{at}.op"), [ch, ch], 3, self.area(level));
                }
                skips.push(ch);
            }
        }

        self.res_block(&format!("{p}middle_block.0"), [ch, ch], levels - 1, Resample::None, true);
        self.attention(&format!("{p}middle_block.1"), ch, levels - 1);
        self.res_block(&format!("{p}middle_block.2"), [ch, ch], levels - 1, Resample::None, true);

        let mut block = 0;
        for level in (0..levels).rev() {
            for i in 0..=arch.num_res_blocks {
                let at = format!("{p}output_blocks.{block}");
                let width = self.width(level);
                let skip = skips.pop().unwrap_or_default();
                self.res_block(&format!("{at}.0"), [ch + skip, width], level, Resample::None, false);
                ch = width;
                let mut next = 1;
                if self.attends(level) {
                    self.attention(&format!("{at}.1"), ch, level);
                    next = 2;
                }
                if level > 0 && i == arch.num_res_blocks {
                    let at = format!("{at}.{next}");
                    if arch.resblock_updown {
                        self.res_block(&at, [ch, ch], level - 1, Resample::Up, false);
                    } else {
                        self.net.conv(&format!("{at}.conv"), [ch, ch], 3, self.area(level - 1));
                    }
                }
                block += 1;
            }
        }
        self.net.norm_silu(&format!("{p}out.0"), ch, self.area(0));
        self.net.conv(&format!("{p}out.2"), [ch, n(arch.out_channels)], 3, self.area(0));
        self.net
    }

    /// Notes a ResBlock whose output is at `level`. In the encoder the bridge enters, if there is one.
    fn res_block(&mut self, at: &str, [cin, cout]: [u64; 2], level: usize, resample: Resample, encoder: bool) {
        let area = self.area(level);
        let input_area = match resample {
            Resample::None => area,
            Resample::Up => area / 4,
            Resample::Down => area * 4,
        };
        let Self { arch, additions, heads, net, .. } = self;
        net.block(cin, input_area, |net| {
            net.norm_silu(&format!("{at}.in_layers.0"), cin, input_area);
            if resample == Resample::Down {
                // Both means over 2x2 keep what they take the mean of.
                net.keep_high(cin, input_area);
                net.keep(cin, input_area);
            }
            net.conv(&format!("{at}.in_layers.2"), [cin, cout], 3, area);
            let (embedding, parts) = (4 * n(arch.model_channels), if arch.use_scale_shift_norm { 2 } else { 1 });
            net.linear(&format!("{at}.emb_layers.1"), [embedding, parts * cout], 1);
            net.norm_silu(&format!("{at}.out_layers.0"), cout, area);
            if arch.use_scale_shift_norm {
                net.keep_high(cout, area);
            }
            net.conv(&format!("{at}.out_layers.3"), [cout, cout], 3, area);
            if cin != cout {
                net.conv(&format!("{at}.skip_connection"), [cin, cout], 1, area);
            }
            if let (Some((model, _)), true) = (additions, encoder) {
                heads.bridge(net, &model.bridge, level, cout, area);
            }
        });
    }

    fn attention(&mut self, at: &str, ch: u64, level: usize) {
        let area = self.area(level);
        let Self { additions, heads, net, .. } = self;
        net.block(ch, area, |net| {
            net.norm(&format!("{at}.norm"), ch, area);
            net.parameter(format!("{at}.qkv.weight"), &[3 * ch, ch, 1]);
            net.parameter(format!("{at}.qkv.bias"), &[3 * ch]);
            net.parameter(format!("{at}.proj_out.weight"), &[ch, ch, 1]);
            net.parameter(format!("{at}.proj_out.bias"), &[ch]);
            // Inputs of both projections; q, k, v and what attention gives.
            net.keep(6 * ch, area);
            if let Some((model, tokens)) = additions
                && model.adapter.enabled
            {
                heads.adapter(net, model, ch, area, *tokens);
            }
        });
    }
}
