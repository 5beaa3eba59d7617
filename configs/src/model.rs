//! The networks' shapes. Names and defaults are those of the reference implementations.

use serde::{Deserialize, Serialize};

/// All networks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Model {
    /// The VQ degradation tokenizer.
    pub tokenizer: TokenizerArch,
    /// Its discriminator.
    pub discriminator: DiscriminatorArch,
    /// The diffusion U-Net.
    pub unet: UnetArch,
    /// The image restoration bridge (IRB), which carries the degraded picture into the encoder.
    pub bridge: BridgeArch,
    /// The visual instruction adapter (VIA), which carries the instruction's tokens into attention.
    pub adapter: AdapterArch,
}

/// VQGAN of taming-transformers. The defaults are `vqgan_imagenet_f16_1024`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenizerArch {
    /// Width of the first level.
    pub ch: i64,
    /// Width of each level, as multiples of `ch`.
    pub ch_mult: Vec<i64>,
    /// ResBlocks per level of the encoder; the decoder has one more.
    pub num_res_blocks: i64,
    /// Levels (0 is full resolution) with an attention block after each ResBlock.
    pub attn_levels: Vec<usize>,
    /// Channels of the encoder's output.
    pub z_channels: i64,
    /// Number of codes K.
    pub n_embed: i64,
    /// Dimension of a code.
    pub embed_dim: i64,
    /// Dropout within ResBlocks.
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

/// PatchGAN discriminator (pix2pix, as in taming-transformers).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiscriminatorArch {
    /// Width of the first layer.
    pub ndf: i64,
    /// Number of strided layers.
    pub n_layers: i64,
}

impl Default for DiscriminatorArch {
    fn default() -> Self {
        Self { ndf: 64, n_layers: 3 }
    }
}

/// U-Net of guided-diffusion (ADM). The defaults are ADM-256 unconditional.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UnetArch {
    /// Channels of y_t.
    pub in_channels: i64,
    /// Width of the first level.
    pub model_channels: i64,
    /// Output channels; 6 when a learned variance head is imported, of which the first 3 are eps.
    pub out_channels: i64,
    /// ResBlocks per level of the encoder; the decoder has one more.
    pub num_res_blocks: i64,
    /// Down-sampling factors at which attention is used: 8, 16, 32 are 32x32, 16x16, 8x8 for 256-pixel crops.
    pub attention_downsamples: Vec<i64>,
    /// Width of each level, as multiples of `model_channels`.
    pub channel_mult: Vec<i64>,
    /// Heads per attention block where `num_head_channels` is -1.
    pub num_heads: i64,
    /// Channels per head; -1: use `num_heads`.
    pub num_head_channels: i64,
    /// FiLM-like time conditioning (scale and shift after the second norm).
    pub use_scale_shift_norm: bool,
    /// ResBlocks for up- and down-sampling, instead of plain convolutions.
    pub resblock_updown: bool,
    /// Order of q, k, v in the fused projection: true is guided-diffusion's newer order.
    pub use_new_attention_order: bool,
    /// Dropout within ResBlocks.
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

/// Image restoration bridge: a light pyramid over x_LQ that gives (shift, scale, gate) to every encoder ResBlock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BridgeArch {
    /// Channels of each level; as many as the U-Net has levels.
    pub channels: Vec<i64>,
    /// Light ResBlocks per level.
    pub num_res_blocks: i64,
}

impl Default for BridgeArch {
    fn default() -> Self {
        Self { channels: vec![64, 64, 128, 128, 256, 256], num_res_blocks: 2 }
    }
}

/// Visual instruction adapter: decoupled cross-attention over the instruction's residual tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdapterArch {
    /// False: no instruction is used (ablation).
    pub enabled: bool,
    /// Dimension that tokens are projected to before K' and V'.
    pub context_dim: i64,
    /// Weight lambda of the adapter's attention.
    pub scale: f64,
    /// Learned positions on the keys.
    pub key_positions: bool,
    /// Use the encoder's output before quantisation for the residual, instead of codes.
    pub pre_quantization: bool,
}

impl Default for AdapterArch {
    fn default() -> Self {
        Self { enabled: true, context_dim: 768, scale: 1.0, key_positions: true, pre_quantization: false }
    }
}
