//! The diffusion U-Net: guided-diffusion's ADM, under its names.

use defusion_config::UnetArch;
use tch::Tensor;
use tch::nn::Path;

use super::adapter::{self, Context};
use super::attention::AttentionBlock;
use super::bridge;
use super::forward::{ForwardOptions, block};
use super::layers::{Conv2d, GroupNorm, Linear, Start, timestep_embedding};
use super::resblock::{ResBlock, Resample};

/// What Defusion adds to the U-Net while it is built: parts for its ResBlocks and attention blocks.
#[derive(Default)]
pub(crate) struct Additions<'a> {
    pub(crate) bridge: Option<bridge::Heads<'a>>,
    pub(crate) adapter: Option<adapter::Heads<'a>>,
}

/// What the U-Net is conditioned on, besides the timestep.
#[derive(Debug, Default)]
pub struct Conditions {
    /// The bridge's features, one map for each level, finest first; empty for none.
    pub features: Vec<Tensor>,
    /// The instruction.
    pub context: Option<Context>,
}

/// U-Net of guided-diffusion.
#[derive(Debug)]
pub struct Unet {
    model_channels: i64,
    time_embed: [Linear; 2],
    input_blocks: Vec<Vec<Layer>>,
    middle_block: Vec<Layer>,
    output_blocks: Vec<Vec<Layer>>,
    out_norm: GroupNorm,
    out_conv: Conv2d,
}

#[derive(Debug)]
enum Layer {
    Conv(Conv2d),
    Res(ResBlock),
    Attention(AttentionBlock),
    Upsample(Conv2d),
}

impl Unet {
    /// The plain U-Net, without bridge and adapter.
    pub fn new(path: &Path<'_>, arch: &UnetArch) -> Self {
        Self::with(path, arch, &mut Additions::default())
    }

    pub(crate) fn with(path: &Path<'_>, arch: &UnetArch, additions: &mut Additions<'_>) -> Self {
        let time_width = 4 * arch.model_channels;
        let time_embed = [
            Linear::new(path / "time_embed" / 0, arch.model_channels, time_width),
            Linear::new(path / "time_embed" / 2, time_width, time_width),
        ];
        let mut build = Builder { arch, additions };
        let (input_blocks, skips) = build.encoder(&(path / "input_blocks"));
        let middle_block = build.middle(&(path / "middle_block"), *skips.last().expect("the encoder is not empty"));
        let output_blocks = build.decoder(&(path / "output_blocks"), skips);
        let width = arch.channel_mult[0] * arch.model_channels;
        Self {
            model_channels: arch.model_channels,
            time_embed,
            input_blocks,
            middle_block,
            output_blocks,
            out_norm: GroupNorm::new(path / "out" / 0, width, 1e-5),
            out_conv: Conv2d::starting(path / "out" / 2, width, arch.out_channels, 3, Start::Zero),
        }
    }

    /// `x` `[B, in_channels, H, W]` and timesteps `t` `[B]` (i64 or f32, in 0..1000) to `[B, out_channels, H, W]`.
    ///
    /// H and W are multiples of 2^(levels - 1).
    pub fn forward(&self, x: &Tensor, t: &Tensor, conditions: &Conditions, options: &ForwardOptions) -> Tensor {
        let [linear_1, linear_2] = &self.time_embed;
        let emb = linear_1.forward(&timestep_embedding(t, self.model_channels)).silu();
        // Every ResBlock reads SiLU of the embedding: it is taken once.
        let emb = linear_2.forward(&emb).silu();
        let run = |h: Tensor, layers: &[Layer]| {
            layers.iter().fold(h, |h, layer| layer.forward(&h, &emb, conditions, options))
        };

        let mut skips = Vec::with_capacity(self.input_blocks.len());
        let mut h = x.shallow_clone();
        for layers in &self.input_blocks {
            h = run(h, layers);
            skips.push(h.shallow_clone());
        }
        h = run(h, &self.middle_block);
        for (layers, skip) in self.output_blocks.iter().zip(skips.iter().rev()) {
            h = run(Tensor::cat(&[&h, skip], 1), layers);
        }
        self.out_conv.forward(&self.out_norm.forward_silu(&h))
    }
}

impl Layer {
    fn forward(&self, h: &Tensor, emb: &Tensor, conditions: &Conditions, options: &ForwardOptions) -> Tensor {
        match self {
            Self::Conv(conv) => conv.forward(h),
            Self::Upsample(conv) => conv.forward_upsampled(h),
            Self::Res(res) => {
                let train = options.train;
                let forward = move |res: &ResBlock, inputs: &[&Tensor]| res.forward(inputs, train);
                match res.bridge_level().and_then(|level| conditions.features.get(level)) {
                    Some(features) => block(options, res, &[h, emb, features], forward),
                    None => block(options, res, &[h, emb], forward),
                }
            }
            Self::Attention(attention) => match &conditions.context {
                Some(context) => {
                    block(options, attention, &[h, &context.keys, &context.values], AttentionBlock::forward)
                }
                None => block(options, attention, &[h], AttentionBlock::forward),
            },
        }
    }
}

/// Lays the blocks out level by level, as guided-diffusion does.
struct Builder<'a, 'b> {
    arch: &'a UnetArch,
    additions: &'a mut Additions<'b>,
}

impl Builder<'_, '_> {
    fn width(&self, level: usize) -> i64 {
        self.arch.channel_mult[level] * self.arch.model_channels
    }

    fn attends(&self, level: usize) -> bool {
        self.arch.attention_downsamples.contains(&(1 << level))
    }

    /// A ResBlock of the encoder or the middle, where the bridge enters.
    fn bridged(&mut self, path: Path<'_>, widths: [i64; 2], level: usize, resample: Resample) -> Layer {
        let bridge = self.additions.bridge.as_mut().map(|heads| heads.next(level, widths[1]));
        Layer::Res(ResBlock::new(&path, widths, self.arch, resample, bridge))
    }

    fn attention(&mut self, path: Path<'_>, channels: i64) -> Layer {
        let instruction = self.additions.adapter.as_mut().map(|heads| heads.next(channels));
        Layer::Attention(AttentionBlock::new(&path, channels, self.arch, instruction))
    }

    /// The blocks, and the width of what each passes on to the decoder.
    fn encoder(&mut self, path: &Path<'_>) -> (Vec<Vec<Layer>>, Vec<i64>) {
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

    fn middle(&mut self, path: &Path<'_>, ch: i64) -> Vec<Layer> {
        let level = self.arch.channel_mult.len() - 1;
        vec![
            self.bridged(path / 0, [ch, ch], level, Resample::None),
            self.attention(path / 1, ch),
            self.bridged(path / 2, [ch, ch], level, Resample::None),
        ]
    }

    fn decoder(&mut self, path: &Path<'_>, mut skips: Vec<i64>) -> Vec<Vec<Layer>> {
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

#[cfg(test)]
mod tests {
    use tch::nn::VarStore;
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn fresh_parameters_are_drawn_as_pytorch_draws_them() {
        let arch =
            UnetArch { model_channels: 64, num_head_channels: 32, channel_mult: vec![1, 2], ..UnetArch::default() };
        let store = VarStore::new(Device::Cpu);
        Unet::new(&store.root(), &UnetArch { attention_downsamples: vec![2], ..arch });
        let variables = store.variables();
        let fan_in = |weight: &str| {
            let size = variables[weight].size();
            variables[weight].numel() as f64 / size[0] as f64
        };
        for (name, value) in &variables {
            let is_norm = ["norm.", "in_layers.0.", "out_layers.0.", "out.0."].iter().any(|part| name.contains(part));
            let is_zero = ["out_layers.3.", "proj_out.", "out.2."].iter().any(|part| name.contains(part));
            if is_norm || is_zero {
                let expected = if is_norm && name.ends_with("weight") { 1.0 } else { 0.0 };
                assert!(bool::try_from(value.eq(expected).all()).unwrap(), "{name} is not {expected}");
                continue;
            }
            let bound = 1.0 / fan_in(&name.replace(".bias", ".weight")).sqrt();
            let largest = value.abs().max().double_value(&[]);
            // The bound itself is rounded to float32 where numbers are drawn.
            assert!(
                largest <= bound * (1.0 + 1e-6) && largest > 0.8 * bound,
                "{name} reaches {largest}, not nearly {bound}"
            );
            // The standard deviation of U(-b, b), within five standard errors of its estimate.
            let std = value.to_kind(Kind::Double).std(true).double_value(&[]) * 3f64.sqrt() / bound;
            assert!((std - 1.0).abs() < 5.0 * (0.2 / value.numel() as f64).sqrt(), "{name}: {std}");
        }
    }
}
