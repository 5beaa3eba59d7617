//! Self-attention over a feature map, as guided-diffusion computes it, with the place where the instruction enters.

use defusion_config::UnetArch;
use tch::Tensor;
use tch::nn::Path;

use super::adapter::KeyValue;
use super::layers::{GroupNorm, Linear, Start};
use crate::torch;

/// `[B, C, H, W]` to tokens `[B, H*W, C]`, row-major. A view, and contiguous where the map is channels-last.
pub(crate) fn to_tokens(map: &Tensor) -> Tensor {
    map.flatten(2, 3).transpose(1, 2)
}

/// Tokens `[B, H*W, C]` back to a map of the size of `like`. A view, and channels-last where the tokens are contiguous.
pub(crate) fn to_map(tokens: &Tensor, like: &Tensor) -> Tensor {
    let (_, _, h, w) = like.size4().expect("a feature map has four dimensions");
    tokens.transpose(1, 2).unflatten(2, [h, w])
}

/// softmax(Q K^T / sqrt(d)) V for `[B, heads, T, d]` and `[B, heads, S, d]`, by a fused kernel: our own on CPUs, where
/// libtorch's is slow, and libtorch's elsewhere.
pub(crate) fn attend(q: &Tensor, k: &Tensor, v: &Tensor) -> Tensor {
    match torch::attention(q, k, v) {
        Ok(Some(out)) => return out,
        Ok(None) => {}
        Err(error) => panic!("{error}"),
    }
    Tensor::scaled_dot_product_attention::<&Tensor>(q, k, v, None, 0.0, false, None, false)
}

/// `[B, T, heads * d]` to `[B, heads, T, d]`, a view.
pub(crate) fn split_heads(x: &Tensor, heads: i64) -> Tensor {
    x.unflatten(2, [heads, -1]).transpose(1, 2)
}

/// `[B, heads, T, d]` to `[B, T, heads * d]`.
pub(crate) fn merge_heads(x: &Tensor) -> Tensor {
    x.transpose(1, 2).flatten(2, 3)
}

/// How one fused projection holds q, k and v.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum QkvOrder {
    /// Heads first, then q, k, v within each: guided-diffusion's `QKVAttentionLegacy`, which the public weights use.
    Legacy,
    /// q, k, v first, then heads: `QKVAttention`.
    New,
}

/// Attention block of the U-Net: `x + proj_out(attention(norm(x)))`. `proj_out` starts at zero.
///
/// Where the visual instruction adapter is on, the queries attend to the instruction too, with keys and values of its own
/// and a softmax of its own: `x + proj_out(attend(q, k, v) + lambda * attend(q, k', v'))`.
#[derive(Clone, Debug)]
pub(crate) struct AttentionBlock {
    norm: GroupNorm,
    qkv: Linear,
    proj_out: Linear,
    heads: i64,
    order: QkvOrder,
    instruction: Option<KeyValue>,
}

impl AttentionBlock {
    /// Registers `norm`, `qkv` and `proj_out`; `instruction` is the adapter's part, registered by the adapter.
    pub(crate) fn new(path: &Path<'_>, channels: i64, arch: &UnetArch, instruction: Option<KeyValue>) -> Self {
        let heads = if arch.num_head_channels == -1 { arch.num_heads } else { channels / arch.num_head_channels };
        Self {
            norm: GroupNorm::new(path / "norm", channels, 1e-5),
            qkv: Linear::pointwise(path / "qkv", channels, 3 * channels, Start::Default),
            proj_out: Linear::pointwise(path / "proj_out", channels, channels, Start::Zero),
            heads,
            order: if arch.use_new_attention_order { QkvOrder::New } else { QkvOrder::Legacy },
            instruction,
        }
    }

    /// `inputs`: the map `[B, C, H, W]`, and the instruction's keys and values `[B, S, context]` if there are any.
    pub(crate) fn forward(&self, inputs: &[&Tensor]) -> Tensor {
        let x = inputs[0];
        let [q, k, v] = self.split(&self.qkv.forward(&to_tokens(&self.norm.forward(x))));
        let own = attend(&q, &k, &v);
        // A new tensor, not a sum in place: backward of the self-attention needs its result as it was.
        let h = match (&self.instruction, inputs) {
            (Some(instruction), [_, keys, values]) => own + instruction.attend(&q, keys, values),
            _ => own,
        };
        x + to_map(&self.proj_out.forward(&merge_heads(&h)), x)
    }

    /// `[B, T, 3C]` to q, k, v, each a view `[B, heads, T, d]`.
    fn split(&self, qkv: &Tensor) -> [Tensor; 3] {
        let (by_part, part) = match self.order {
            QkvOrder::Legacy => (qkv.unflatten(2, [self.heads, 3, -1]), 3),
            QkvOrder::New => (qkv.unflatten(2, [3, self.heads, -1]), 2),
        };
        // Not by `select`, whose gradients are three tensors of zeros to be summed.
        let parts = by_part.unbind(part);
        [0, 1, 2].map(|i| parts[i].transpose(1, 2))
    }
}
