//! One layer of the U-Net, and what it is conditioned on.

use tch::Tensor;

use crate::networks::adapter::Context;
use crate::networks::attention::AttentionBlock;
use crate::networks::forward::ForwardOptions;
use crate::networks::layers::Conv2d;
use crate::networks::resblock::ResBlock;

/// What the U-Net is conditioned on, besides the timestep.
#[derive(Debug, Default)]
pub struct Conditions {
    /// The bridge's features, one map `[B, channels[l], H / 2^l, W / 2^l]` for each level l, finest first; empty for
    /// none.
    pub features: Vec<Tensor>,
    /// The instruction.
    pub context: Option<Context>,
}

/// One layer of a block.
#[derive(Debug)]
pub(super) enum Layer {
    /// A convolution; the size halves if its stride is 2.
    Conv(Conv2d),
    /// A ResBlock, in which the bridge enters.
    Res(ResBlock),
    /// An attention block, in which the adapter enters.
    Attention(AttentionBlock),
    /// A convolution over the map enlarged by 2.
    Upsample(Conv2d),
}

impl Layer {
    /// `h` `[B, Cin, H, W]` to `[B, Cout, H', W']`; `emb` is SiLU of the time embedding, `[B, 4 * model_channels]`.
    pub(super) fn forward(
        &self,
        h: &Tensor,
        emb: &Tensor,
        conditions: &Conditions,
        options: &ForwardOptions,
    ) -> Tensor {
        match self {
            Self::Conv(conv) => conv.forward(h),
            Self::Res(res) => res.forward(h, emb, &conditions.features, options),
            Self::Attention(attention) => attention.forward(h, conditions.context.as_ref(), options),
            Self::Upsample(conv) => conv.forward_upsampled(h),
        }
    }
}
