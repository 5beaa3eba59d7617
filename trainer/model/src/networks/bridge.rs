//! Image restoration bridge (IRB): carries the degraded image into the U-Net's encoder (Defusion, Sec. 3.3).
//!
//! A light pyramid over x_LQ has one level for every level of the U-Net. Each ResBlock of the encoder and of the middle
//! reads the level of its own size through a 1x1 convolution that starts at zero and gives (scale, shift, gate) per
//! pixel. The decoder is left alone: the paper finds injection there harmful.
//!
//! DiT's AdaLN-Zero lets the gate start at 0; over a pretrained U-Net that would erase every branch. Here the gate is
//! `1 + gate`, so that a fresh bridge leaves the U-Net exactly as it was.

use defusion_config::BridgeArch;
use tch::Tensor;
use tch::nn::Path;

use super::layers::{Conv2d, WeightInit};

/// T2I-Adapter's light ResBlock: `x + conv1x1(silu(conv3x3(x)))`. No norm, so that the image's levels survive.
#[derive(Debug)]
struct LightResBlock {
    block1: Conv2d,
    block2: Conv2d,
}

impl LightResBlock {
    /// Registers `block1` (3x3) and `block2` (1x1).
    fn new(path: &Path<'_>, channels: i64) -> Self {
        Self {
            block1: Conv2d::new(path / "block1", channels, channels, 3),
            block2: Conv2d::new(path / "block2", channels, channels, 1),
        }
    }

    /// `[B, C, H, W]` to the same shape.
    fn forward(&self, x: &Tensor) -> Tensor {
        x + self.block2.forward(&self.block1.forward(x).silu())
    }
}

/// One level of the pyramid: a 3x3 stem (level 0) or a strided 3x3, then light ResBlocks.
#[derive(Debug)]
struct Level {
    conv: Conv2d,
    blocks: Vec<LightResBlock>,
}

/// The pyramid over the degraded image.
#[derive(Debug)]
pub struct Bridge {
    levels: Vec<Level>,
}

impl Bridge {
    /// Registers `stem`, `down.{1..}` and `levels.{l}.{i}.{block1,block2}` at `path`.
    pub fn new(path: &Path<'_>, arch: &BridgeArch) -> Self {
        let level = |(l, &channels): (usize, &i64)| Level {
            conv: match l {
                0 => Conv2d::new(path / "stem", 3, channels, 3),
                _ => Conv2d::new(path / "down" / l, arch.channels[l - 1], channels, 3).stride(2),
            },
            blocks: (0..arch.num_res_blocks)
                .map(|i| LightResBlock::new(&(path / "levels" / l / i), channels))
                .collect(),
        };
        Self { levels: arch.channels.iter().enumerate().map(level).collect() }
    }

    /// x_LQ `[B, 3, H, W]` in [-1, 1] to SiLU of each level's features, `[B, channels[l], H / 2^l, W / 2^l]`.
    pub fn forward(&self, lq: &Tensor) -> Vec<Tensor> {
        let mut x = lq.shallow_clone();
        let level = |level: &Level| {
            x = level.blocks.iter().fold(level.conv.forward(&x), |x, block| block.forward(&x));
            x.silu()
        };
        self.levels.iter().map(level).collect()
    }
}

/// Builds the bridge's parts of the ResBlocks, `heads.{0..}` in the order of the ResBlocks of encoder and
/// middle.
pub(crate) struct ModulationBuilder<'a> {
    path: Path<'a>,
    channels: &'a [i64],
    next: usize,
}

impl<'a> ModulationBuilder<'a> {
    /// Starts at block 0; `path` is the bridge's.
    pub(crate) fn new(path: &Path<'a>, arch: &'a BridgeArch) -> Self {
        Self { path: path / "heads", channels: &arch.channels, next: 0 }
    }

    /// Registers the part of the next ResBlock, whose output has `channels` channels at the size of `level`: a 1x1
    /// convolution to `3 * channels`.
    pub(crate) fn next(&mut self, level: usize, channels: i64) -> Modulation {
        let path = &self.path / self.next;
        self.next += 1;
        Modulation { head: Conv2d::with_init(path, self.channels[level], 3 * channels, 1, WeightInit::Zero), level }
    }
}

/// The bridge's part of one ResBlock: per pixel, `h * (1 + scale) + shift` before the second SiLU, and the residual
/// times `1 + gate`.
#[derive(Clone, Debug)]
pub(crate) struct Modulation {
    head: Conv2d,
    level: usize,
}

impl Modulation {
    /// The pyramid's level that it reads, 0 for the finest.
    pub(crate) fn level(&self) -> usize {
        self.level
    }

    /// Features of this level `[B, channels[level], H, W]` to (scale, shift, gate), each a view `[B, C, H, W]`.
    pub(crate) fn forward(&self, features: &Tensor) -> [Tensor; 3] {
        let all = self.head.forward(features);
        let channels = all.size()[1] / 3;
        [0, 1, 2].map(|i| all.narrow(1, i * channels, channels))
    }
}
