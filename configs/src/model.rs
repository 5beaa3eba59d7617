//! The networks' shapes. Names and defaults are those of the reference implementations.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The networks' shapes. Names and defaults are those of the reference implementations, so that their published weights
/// can be imported.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Model {
    /// The VQ degradation tokenizer.
    pub tokenizer: TokenizerArch,
    /// The tokenizer's discriminator.
    pub discriminator: DiscriminatorArch,
    /// The diffusion U-Net.
    pub unet: UnetArch,
    /// The image restoration bridge (IRB), which carries the degraded image into the encoder.
    pub bridge: BridgeArch,
    /// The visual instruction adapter (VIA), which carries the instruction's tokens into attention.
    pub adapter: AdapterArch,
}

/// The VQ degradation tokenizer (paper, section 3.1): the VQGAN of taming-transformers. The defaults are its `vqgan_imagenet_f16_1024`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TokenizerArch {
    /// Channels of the first level.
    #[schemars(range(min = 1, max = 65_536))]
    pub ch: i64,
    /// Width of each level, as multiples of `ch`. Each width is a multiple of 32, the groups of GroupNorm.
    #[schemars(length(min = 1, max = 10), inner(range(min = 1, max = 64)))]
    pub ch_mult: Vec<i64>,
    /// ResBlocks per level of the encoder; the decoder has one more.
    #[schemars(range(min = 1, max = 64))]
    pub num_res_blocks: i64,
    /// Levels (0 is full resolution) with an attention block after each ResBlock.
    pub attn_levels: Vec<usize>,
    /// Channels of the encoder's output.
    #[schemars(range(min = 1, max = 65_536))]
    pub z_channels: i64,
    /// Number of codes K.
    #[schemars(range(min = 1, max = 16_777_216))]
    pub n_embed: i64,
    /// Dimension of a code.
    #[schemars(range(min = 1, max = 65_536))]
    pub embed_dim: i64,
    /// Probability of dropout within ResBlocks.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub dropout: f64,
}

impl Default for TokenizerArch {
    fn default() -> Self {
        Self {
            ch: 128,
            ch_mult: vec![1, 1, 2, 2, 4],
            num_res_blocks: 2,
            attn_levels: vec![4],
            z_channels: 256,
            n_embed: 1024,
            embed_dim: 256,
            dropout: 0.0,
        }
    }
}

/// The tokenizer's PatchGAN discriminator (pix2pix, as in taming-transformers).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DiscriminatorArch {
    /// Channels of the first layer.
    #[schemars(range(min = 1, max = 65_536))]
    pub ndf: i64,
    /// Number of strided layers.
    #[schemars(range(min = 1, max = 8))]
    pub n_layers: i64,
}

impl Default for DiscriminatorArch {
    fn default() -> Self {
        Self { ndf: 64, n_layers: 3 }
    }
}

/// The diffusion U-Net: that of guided-diffusion (ADM). The defaults are its unconditional model for 256 pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UnetArch {
    /// Channels of y_t; only 3 is allowed.
    pub in_channels: i64,
    /// Channels of the first level.
    #[schemars(range(min = 1, max = 65_536))]
    pub model_channels: i64,
    /// Output channels: 3, or 6 if a learned variance head is imported; the first 3 are eps. No other number is allowed.
    pub out_channels: i64,
    /// ResBlocks per level of the encoder; the decoder has one more.
    #[schemars(range(min = 1, max = 64))]
    pub num_res_blocks: i64,
    /// Down-sampling factors at which attention is used, powers of two: 8, 16, 32 are 32x32, 16x16, 8x8 for 256-pixel crops.
    pub attention_downsamples: Vec<i64>,
    /// Width of each level, as multiples of `model_channels`. Each width is a multiple of 32, the groups of GroupNorm.
    #[schemars(length(min = 1, max = 10), inner(range(min = 1, max = 64)))]
    pub channel_mult: Vec<i64>,
    /// Heads per attention block if `num_head_channels` is -1. They divide the width of each level with attention.
    #[schemars(range(min = 1, max = 65_536))]
    pub num_heads: i64,
    /// Channels per head, above 0, which divide the width of each level with attention; -1: use `num_heads`.
    pub num_head_channels: i64,
    /// FiLM-like time conditioning (scale and shift after the second norm).
    pub use_scale_shift_norm: bool,
    /// ResBlocks for up- and down-sampling, instead of plain convolutions.
    pub resblock_updown: bool,
    /// Order of q, k, v in the fused projection: true is guided-diffusion's newer order.
    pub use_new_attention_order: bool,
    /// Probability of dropout within ResBlocks.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub dropout: f64,
}

impl Default for UnetArch {
    fn default() -> Self {
        Self {
            in_channels: 3,
            model_channels: 256,
            out_channels: 6,
            num_res_blocks: 2,
            attention_downsamples: vec![8, 16, 32],
            channel_mult: vec![1, 1, 2, 2, 4, 4],
            num_heads: 4,
            num_head_channels: 64,
            use_scale_shift_norm: true,
            resblock_updown: true,
            use_new_attention_order: false,
            dropout: 0.0,
        }
    }
}

/// The image restoration bridge, IRB (paper, section 3.3): a light pyramid over the degraded image x_LQ that gives (shift, scale, gate) to every encoder
/// ResBlock. The paper states no widths: these are this project's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BridgeArch {
    /// Channels of each level; as many entries as the U-Net has levels.
    #[schemars(inner(range(min = 1, max = 65_536)))]
    pub channels: Vec<i64>,
    /// Light ResBlocks per level.
    #[schemars(range(min = 0, max = 64))]
    pub num_res_blocks: i64,
}

impl Default for BridgeArch {
    fn default() -> Self {
        Self { channels: vec![64, 64, 128, 128, 256, 256], num_res_blocks: 2 }
    }
}

/// The visual instruction adapter, VIA (paper, section 3.3): decoupled cross-attention, as in IP-Adapter, over the instruction's
/// residual tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdapterArch {
    /// Use the instruction. False: none is used (ablation: paper, section 4.3).
    pub enabled: bool,
    /// Dimension that tokens are projected to before K' and V'.
    #[schemars(range(min = 1, max = 65_536))]
    pub context_dim: i64,
    /// Weight lambda of the adapter's attention.
    pub scale: f64,
    /// Add learned positions to the keys; without them attention does not see where a token lies.
    pub key_positions: bool,
    /// Use the encoder's output before quantisation for the residual, instead of codes.
    pub pre_quantization: bool,
}

impl Default for AdapterArch {
    fn default() -> Self {
        Self { enabled: true, context_dim: 768, scale: 1.0, key_positions: true, pre_quantization: false }
    }
}
