//! How large the networks are, in pure arithmetic: parameters by name, what backward keeps, bytes of a checkpoint.
//!
//! The launcher's plan needs these before any library that could build the networks is loaded, and the trainer decides by
//! them which blocks to recompute. Names and shapes are those that the trainer registers; tests hold them against the
//! reference implementations' own. Stands on `defusion-config` alone.
//!
//! ```
//! use defusion_config::{Model, UnetArch};
//!
//! let unet = defusion_footprint::unet(&UnetArch::default(), 256);
//! assert_eq!(unet.count(), 552_814_086); // guided-diffusion's 256x256_diffusion_uncond.pt
//! let all = defusion_footprint::diffusion(&Model::default(), 256, 196);
//! assert_eq!(all.count_under("unet."), unet.count());
//! ```
#![forbid(unsafe_code)]

mod bridge;
mod memory;
mod trace;
mod unet;
mod vqgan;

pub use memory::{Memory, memory, recompute_below, recompute_below_in};
pub use trace::{Block, Kept, Network, Parameter};
pub use unet::{diffusion, unet};
pub use vqgan::{discriminator, tokenizer};

use defusion_config::{Config, Model, Stage};

/// Returns the number of tokens of a square instruction of `size` pixels.
pub fn tokens(model: &Model, size: u32) -> u64 {
    let side = u64::from(size) >> (model.tokenizer.ch_mult.len() - 1);
    side * side
}

/// Returns the bytes of one checkpoint of `stage`: float32 weights, moving averages and both moments of Adam. Stage 1 has
/// the discriminator beside the tokenizer, without average; stage 2 the frozen tokenizer's weights.
pub fn checkpoint_bytes(config: &Config, stage: Stage) -> u64 {
    let (model, size) = (&config.model, config.data.grounds.size);
    let tokenizer = tokenizer(&model.tokenizer, size).count();
    match stage {
        Stage::Tokenizer => 16 * tokenizer + 12 * discriminator(&model.discriminator, size).count(),
        Stage::Diffusion => 16 * diffusion(model, config.data.crop, tokens(model, size)).count() + 4 * tokenizer,
    }
}
