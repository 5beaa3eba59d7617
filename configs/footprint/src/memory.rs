//! Estimates a worker's memory on its device.

use defusion_config::{ActivationCheckpointing, Config, Precision, Stage, StepOptions};
use serde::Serialize;

use crate::trace::{Block, Network};
use crate::{diffusion, discriminator, tokenizer, tokens};

/// What one worker needs on its device, bytes, estimated part by part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// float32 weights of all networks, trained and frozen.
    pub weights: u64,
    /// Gradients, which lie in the all-reduce buckets: float32, as large as the trained weights.
    pub gradients: u64,
    /// Both moments of Adam: twice the trained weights.
    pub optimizer: u64,
    /// Moving average of the weights.
    pub average: u64,
    /// bfloat16 copies of the trained weights, which autocast keeps through a step.
    pub casts: u64,
    /// What a forward pass keeps for backward, one micro-batch.
    pub activations: u64,
    /// Six of the largest map in float32 (gradients in flight, layers' workspaces), and 1.5 GiB on CUDA for the context,
    /// cuDNN, cuBLAS and NCCL.
    pub workspace: u64,
}

impl Memory {
    /// Returns the sum of all parts, bytes.
    pub fn total(&self) -> u64 {
        self.weights + self.gradients + self.optimizer + self.average + self.casts + self.activations + self.workspace
    }
}

const CUDA_CONTEXT: u64 = 3 << 29;

/// Estimates one worker's memory in `stage`. A precision of `auto`, which a run has settled before it needs memory, counts
/// as the larger of both.
pub fn memory(config: &Config, stage: Stage) -> Memory {
    let (model, size) = (&config.model, config.data.grounds.size);
    let context = if config.cluster.device == defusion_config::Device::Cuda { CUDA_CONTEXT } else { 0 };
    let tokenizer = tokenizer(&model.tokenizer, size);
    match stage {
        Stage::Tokenizer => {
            let stage = &config.tokenizer;
            let micro = micro_batch(config, stage.global_batch, &stage.step);
            let net = discriminator(&model.discriminator, size);
            let lpips = if stage.perceptual_weight > 0.0 { vgg16(size) } else { Network::default() };
            let trained = tokenizer.count() + net.count();
            // The discriminator sees the reconstruction, and in its own step both images; LPIPS the reconstruction.
            let of = |net: &Network| kept(net, &stage.step, micro);
            let activations = of(&tokenizer) + 2 * of(&net) + of(&lpips);
            let largest = tokenizer.largest_map.max(lpips.largest_map);
            parts(trained, VGG16 * u64::from(stage.perceptual_weight > 0.0), tokenizer.count(), &stage.step).with(
                activations,
                micro * largest,
                context,
            )
        }
        Stage::Diffusion => {
            let stage = &config.diffusion;
            let micro = micro_batch(config, stage.global_batch, &stage.step);
            let net = diffusion(model, config.data.crop, tokens(model, size));
            parts(net.count(), tokenizer.count(), net.count(), &stage.step).with(
                kept(&net, &stage.step, micro),
                micro * net.largest_map,
                context,
            )
        }
    }
}

fn parts(trained: u64, frozen: u64, averaged: u64, step: &StepOptions) -> Memory {
    Memory {
        weights: 4 * (trained + frozen),
        gradients: 4 * trained,
        optimizer: 8 * trained,
        average: 4 * averaged,
        casts: if step.precision == Precision::Fp32 { 0 } else { 2 * trained },
        activations: 0,
        workspace: 0,
    }
}

impl Memory {
    fn with(self, activations: u64, largest_map: u64, context: u64) -> Self {
        Self { activations, workspace: 24 * largest_map + context, ..self }
    }
}

fn kept(net: &Network, step: &StepOptions, micro: u64) -> u64 {
    micro * kept_below(net, step.precision, recompute_below(net, step, micro))
}

/// Returns the bytes kept for one sample if blocks with inputs narrower than `width` are recomputed.
fn kept_below(net: &Network, precision: Precision, width: u64) -> u64 {
    let low = match precision {
        Precision::Fp32 | Precision::Auto => 4,
        Precision::Bf16 => 2,
    };
    let (recomputed, whole): (Vec<&Block>, Vec<&Block>) = net.blocks.iter().partition(|block| block.width < width);
    let kept: u64 = whole.iter().map(|block| block.kept.bytes(low)).sum();
    let inputs: u64 = recomputed.iter().map(|block| block.input.bytes(low)).sum();
    let again = recomputed.iter().map(|block| block.kept.bytes(low)).max().unwrap_or(0);
    net.kept_outside_blocks.bytes(low) + kept + inputs + again
}

/// Returns the width of input (channels) below which blocks are recomputed: 0 for none, `u64::MAX` for all. With a budget it
/// is the smallest width with which what `micro` samples keep fits, or `u64::MAX` if nothing does.
pub fn recompute_below(net: &Network, step: &StepOptions, micro: u64) -> u64 {
    match step.activation_checkpointing {
        ActivationCheckpointing::None => 0,
        ActivationCheckpointing::Block => u64::MAX,
        ActivationCheckpointing::Budget => {
            let budget = step.activation_gib.unwrap_or_default() * f64::from(1 << 30);
            let mut widths: Vec<u64> = net.blocks.iter().map(|block| block.width + 1).chain([0]).collect();
            widths.sort_unstable();
            let fits = |width: &u64| (micro * kept_below(net, step.precision, *width)) as f64 <= budget;
            widths.into_iter().find(fits).unwrap_or(u64::MAX)
        }
    }
}

/// Returns [`recompute_below`] for the network that `stage` trains, as `config` says.
pub fn recompute_below_in(config: &Config, stage: Stage) -> u64 {
    let (net, step, micro) = match stage {
        Stage::Tokenizer => {
            let (stage, size) = (&config.tokenizer, config.data.grounds.size);
            (
                tokenizer(&config.model.tokenizer, size),
                &stage.step,
                micro_batch(config, stage.global_batch, &stage.step),
            )
        }
        Stage::Diffusion => {
            let stage = &config.diffusion;
            let net = diffusion(&config.model, config.data.crop, tokens(&config.model, config.data.grounds.size));
            (net, &stage.step, micro_batch(config, stage.global_batch, &stage.step))
        }
    };
    recompute_below(&net, step, micro)
}

/// Returns the number of samples that a worker computes at a time; of the largest share, if they are uneven.
fn micro_batch(config: &Config, global_batch: u64, step: &StepOptions) -> u64 {
    global_batch.div_ceil((u64::from(config.cluster.world_size()) * u64::from(step.accumulation)).max(1))
}

/// Number of parameters of VGG16's convolutions, whose maps LPIPS compares.
const VGG16: u64 = 14_714_688;

/// Walks VGG16's convolutions over images of `size` pixels.
fn vgg16(size: u32) -> Network {
    let mut net = Network::default();
    let mut cin = 3;
    for (stage, (channels, layers)) in [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)].into_iter().enumerate() {
        let area = (u64::from(size) >> stage).pow(2);
        for i in 0..layers {
            net.conv(&format!("{stage}.{i}"), [cin, channels], 3, area);
            cin = channels;
        }
        // The last map of each stage is compared.
        net.keep(channels, area);
    }
    net
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vgg16_is_the_published_size() {
        assert_eq!(vgg16(224).count(), VGG16);
    }
}
