//! Self-attention over a feature map, as guided-diffusion computes it, with the place where the instruction enters.

use defusion_config::UnetArch;
use tch::Tensor;
use tch::nn::Path;

use super::adapter::{Context, CrossAttention};
use super::forward::{ForwardOptions, block};
use super::layers::{ADM_EPS, GroupNorm, Linear, WeightInit};
use super::ops::{attend, merge_heads, to_map, to_tokens};

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
/// If the visual instruction adapter is on, the queries attend to the instruction too, with keys and values of its own
/// and a softmax of its own: `x + proj_out(attend(q, k, v) + lambda * attend(q, k', v'))`.
#[derive(Clone, Debug)]
pub(crate) struct AttentionBlock {
    norm: GroupNorm,
    qkv: Linear,
    proj_out: Linear,
    heads: i64,
    order: QkvOrder,
    instruction: Option<CrossAttention>,
}

impl AttentionBlock {
    /// Registers `norm`, `qkv` and `proj_out`; `instruction` is the adapter's part, registered by the adapter.
    pub(crate) fn new(path: &Path<'_>, channels: i64, arch: &UnetArch, instruction: Option<CrossAttention>) -> Self {
        let heads = if arch.num_head_channels == -1 { arch.num_heads } else { channels / arch.num_head_channels };
        Self {
            norm: GroupNorm::new(path / "norm", channels, ADM_EPS),
            qkv: Linear::pointwise(path / "qkv", channels, 3 * channels, WeightInit::Default),
            proj_out: Linear::pointwise(path / "proj_out", channels, channels, WeightInit::Zero),
            heads,
            order: if arch.use_new_attention_order { QkvOrder::New } else { QkvOrder::Legacy },
            instruction,
        }
    }

    /// `[B, C, H, W]` to the same shape. `context` is the instruction, if there is one.
    pub(crate) fn forward(&self, x: &Tensor, context: Option<&Context>, options: &ForwardOptions) -> Tensor {
        match context {
            Some(context) => block(options, self, &[x, &context.keys, &context.values], |this, inputs| {
                this.run(inputs[0], Some([inputs[1], inputs[2]]))
            }),
            None => block(options, self, &[x], |this, inputs| this.run(inputs[0], None)),
        }
    }

    fn run(&self, x: &Tensor, context: Option<[&Tensor; 2]>) -> Tensor {
        let [q, k, v] = self.split(&self.qkv.forward(&to_tokens(&self.norm.forward(x))));
        let own = attend(&q, &k, &v);
        // A new tensor, not a sum in place: backward of the self-attention needs its result as it was.
        let h = match (&self.instruction, context) {
            (Some(instruction), Some([keys, values])) => own + instruction.forward(&q, keys, values),
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
