//! The diffusion U-Net: guided-diffusion's ADM, under its names (Defusion, Sec. 3.2; Dhariwal and Nichol 2021).

mod layer;
mod layout;

use defusion_config::UnetArch;
use tch::Tensor;
use tch::nn::Path;

use self::layer::Layer;
use self::layout::Layout;
use super::forward::ForwardOptions;
use super::layers::{ADM_EPS, Conv2d, GroupNorm, Linear, WeightInit};
use super::ops::timestep_embedding;

pub use self::layer::Conditions;
pub(crate) use self::layout::Additions;

/// U-Net of guided-diffusion.
///
/// The encoder's blocks keep their outputs; each block of the decoder reads the output of the one before it beside that
/// of the encoder's block of its size, last first.
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

impl Unet {
    /// The plain U-Net, without bridge and adapter.
    pub fn new(path: &Path<'_>, arch: &UnetArch) -> Self {
        Self::with(path, arch, &mut Additions::default())
    }

    /// The U-Net with what Defusion adds to it.
    pub(crate) fn with(path: &Path<'_>, arch: &UnetArch, additions: &mut Additions<'_>) -> Self {
        let time_width = 4 * arch.model_channels;
        let time_embed = [
            Linear::new(path / "time_embed" / 0, arch.model_channels, time_width),
            Linear::new(path / "time_embed" / 2, time_width, time_width),
        ];
        let mut layout = Layout::new(arch, additions);
        let (input_blocks, skips) = layout.encoder(&(path / "input_blocks"));
        let middle_block = layout.middle(&(path / "middle_block"), *skips.last().expect("the encoder is not empty"));
        let output_blocks = layout.decoder(&(path / "output_blocks"), skips);
        let width = arch.channel_mult[0] * arch.model_channels;
        Self {
            model_channels: arch.model_channels,
            time_embed,
            input_blocks,
            middle_block,
            output_blocks,
            out_norm: GroupNorm::new(path / "out" / 0, width, ADM_EPS),
            out_conv: Conv2d::with_init(path / "out" / 2, width, arch.out_channels, 3, WeightInit::Zero),
        }
    }

    /// Takes `x` `[B, in_channels, H, W]`, where H and W are multiples of 2^(levels - 1), and timesteps `t` `[B]` (i64
    /// or f32, in 0..1000); returns `[B, out_channels, H, W]`.
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
            // The bound itself is rounded to float32 when numbers are drawn.
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
