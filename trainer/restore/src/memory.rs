//! How much memory restoring an image takes, known before.

use defusion_config::Config;

use crate::sampling::WHOLE_TENSORS;

/// Copies of the U-Net's widest map that exist at once: input, output and what the convolution between them needs.
const MAPS: u64 = 6;

/// Memory that restoring takes beside the networks and the image given, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreMemory {
    /// The computer's; with a GPU the result alone.
    pub host: u64,
    /// The GPU's; 0 without one.
    pub device: u64,
}

/// Bytes that the U-Net holds while it sees one tile of the sampler: the maps that skip connections keep, and those at work.
pub(super) fn tile_bytes(config: &Config) -> u64 {
    let tokens = defusion_footprint::tokens(&config.model, config.data.grounds.size);
    let net = defusion_footprint::diffusion(&config.model, config.diffusion.sampler.tile, tokens);
    // Half of the blocks are on the way down, and what each is given is kept for the way up.
    let skips: u64 = net.blocks.iter().map(|block| block.input.high + block.input.low).sum::<u64>() / 2;
    4 * (skips + MAPS * net.largest_map)
}

/// An estimate for one image of `width` x `height`; `tiles`: bytes of the tiles that the U-Net sees at once.
pub(super) fn memory(width: usize, height: usize, tiles: u64, on_gpu: bool) -> RestoreMemory {
    let tensor = 12 * width as u64 * height as u64;
    let sampling = (tensor as f64 * WHOLE_TENSORS) as u64 + tiles;
    match on_gpu {
        true => RestoreMemory { host: tensor, device: sampling },
        false => RestoreMemory { host: sampling, device: 0 },
    }
}
