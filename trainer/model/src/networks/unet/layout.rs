//! The order of the U-Net's layers: level by level, as guided-diffusion lays them out and numbers them.

use defusion_config::UnetArch;
use tch::nn::Path;

use super::layer::Layer;
use crate::networks::adapter::CrossAttentionBuilder;
use crate::networks::attention::AttentionBlock;
use crate::networks::bridge::ModulationBuilder;
use crate::networks::layers::Conv2d;
use crate::networks::resblock::{ResBlock, Resample};

/// What Defusion adds to the U-Net while it is built: parts for its ResBlocks and attention blocks.
#[derive(Default)]
pub(crate) struct Additions<'a> {
    /// Gives each ResBlock of encoder and middle its modulation.
    pub(crate) bridge: Option<ModulationBuilder<'a>>,
    /// Gives each attention block its cross-attention.
    pub(crate) adapter: Option<CrossAttentionBuilder<'a>>,
}

/// Builds encoder, middle and decoder, in this order.
pub(super) struct Layout<'a, 'b> {
    arch: &'a UnetArch,
    additions: &'a mut Additions<'b>,
}

impl<'a, 'b> Layout<'a, 'b> {
    pub(super) fn new(arch: &'a UnetArch, additions: &'a mut Additions<'b>) -> Self {
        Self { arch, additions }
    }

    /// Channels of `level`.
    fn width(&self, level: usize) -> i64 {
        self.arch.channel_mult[level] * self.arch.model_channels
    }

    /// Returns whether `level` has attention.
    fn attends(&self, level: usize) -> bool {
        self.arch.attention_downsamples.contains(&(1 << level))
    }

    /// A ResBlock of the encoder or the middle, where the bridge enters.
    fn bridged(&mut self, path: Path<'_>, widths: [i64; 2], level: usize, resample: Resample) -> Layer {
        let bridge = self.additions.bridge.as_mut().map(|bridge| bridge.next(level, widths[1]));
        Layer::Res(ResBlock::new(&path, widths, self.arch, resample, bridge))
    }

    fn attention(&mut self, path: Path<'_>, channels: i64) -> Layer {
        let instruction = self.additions.adapter.as_mut().map(|adapter| adapter.next(channels));
        Layer::Attention(AttentionBlock::new(&path, channels, self.arch, instruction))
    }

    /// Registers the encoder's blocks. Returns them, and the channels of what each passes on to the decoder.
    pub(super) fn encoder(&mut self, path: &Path<'_>) -> (Vec<Vec<Layer>>, Vec<i64>) {
        let levels = self.arch.channel_mult.len();
        let mut ch = self.width(0);
        let mut blocks = vec![vec![Layer::Conv(Conv2d::new(path / 0 / 0, self.arch.in_channels, ch, 3))]];
        let mut skips = vec![ch];
        for level in 0..levels {
            for _ in 0..self.arch.num_res_blocks {
                let path = path / blocks.len();
                let width = self.width(level);
                let mut layers = vec![self.bridged(&path / 0, [ch, width], level, Resample::None)];
                ch = width;
                if self.attends(level) {
                    layers.push(self.attention(&path / 1, ch));
                }
                blocks.push(layers);
                skips.push(ch);
            }
            if level + 1 < levels {
                let path = path / blocks.len() / 0;
                blocks.push(vec![match self.arch.resblock_updown {
                    true => self.bridged(path, [ch, ch], level + 1, Resample::Down),
                    false => Layer::Conv(Conv2d::new(path / "op", ch, ch, 3).stride(2)),
                }]);
                skips.push(ch);
            }
        }
        (blocks, skips)
    }

    /// Registers the block between encoder and decoder, of `ch` channels.
    pub(super) fn middle(&mut self, path: &Path<'_>, ch: i64) -> Vec<Layer> {
        let level = self.arch.channel_mult.len() - 1;
        vec![
            self.bridged(path / 0, [ch, ch], level, Resample::None),
            self.attention(path / 1, ch),
            self.bridged(path / 2, [ch, ch], level, Resample::None),
        ]
    }

    /// Registers the decoder's blocks; `skips` are the channels that the encoder's blocks pass on, in their order.
    pub(super) fn decoder(&mut self, path: &Path<'_>, mut skips: Vec<i64>) -> Vec<Vec<Layer>> {
        let mut ch = *skips.last().expect("the encoder is not empty");
        let mut blocks = Vec::with_capacity(skips.len());
        for level in (0..self.arch.channel_mult.len()).rev() {
            for i in 0..=self.arch.num_res_blocks {
                let path = path / blocks.len();
                let skip = skips.pop().expect("the decoder has one block for every one of the encoder");
                let width = self.width(level);
                let mut layers = vec![self.plain(&path / 0, [ch + skip, width], Resample::None)];
                ch = width;
                if self.attends(level) {
                    layers.push(self.attention(&path / 1, ch));
                }
                if level > 0 && i == self.arch.num_res_blocks {
                    let path = &path / layers.len();
                    layers.push(match self.arch.resblock_updown {
                        true => self.plain(path, [ch, ch], Resample::Up),
                        false => Layer::Upsample(Conv2d::new(path / "conv", ch, ch, 3)),
                    });
                }
                blocks.push(layers);
            }
        }
        blocks
    }

    /// A ResBlock of the decoder.
    fn plain(&self, path: Path<'_>, widths: [i64; 2], resample: Resample) -> Layer {
        Layer::Res(ResBlock::new(&path, widths, self.arch, resample, None))
    }
}
