//! Visual instruction adapter (VIA): decoupled cross-attention over the instruction's tokens (Defusion, Sec. 3.3;
//! IP-Adapter).
//!
//! Tokens are residuals of codes, `quant(E(v)) - quant(E(null))`. Zero says "remove nothing", so nothing may turn a
//! zero into something: the projection and V' have no bias, there is no LayerNorm, and positions are added to keys
//! only. Attention does not know the order of what it attends to; the positions tell it where in the ground a token
//! lies.

use defusion_config::AdapterArch;
use tch::Tensor;
use tch::nn::{Init, Path};

use super::layers::{Linear, WeightInit};
use super::ops::{attend, split_heads};

/// What all attention blocks share: tokens projected to the context's width, and the keys' positions.
#[derive(Debug)]
pub struct Adapter {
    proj: Linear,
    positions: Option<Tensor>,
}

/// The instruction as attention blocks read it.
#[derive(Debug)]
pub struct Context {
    /// What keys are made from, `[B, T, context_dim]`.
    pub(crate) keys: Tensor,
    /// What values are made from, `[B, T, context_dim]`.
    pub(crate) values: Tensor,
}

impl Adapter {
    /// Registers `proj.weight` `[context_dim, embed_dim]` and `positions` `[tokens, context_dim]` at `path`.
    ///
    /// `embed_dim` is the dimension of the tokenizer's codes, `tokens` the number of tokens of an instruction: 196 for
    /// 224 pixels.
    pub fn new(path: &Path<'_>, arch: &AdapterArch, embed_dim: i64, tokens: i64) -> Self {
        let shape = [tokens, arch.context_dim];
        let position = Init::Randn { mean: 0.0, stdev: 0.02 };
        Self {
            proj: Linear::without_bias(path / "proj", embed_dim, arch.context_dim, WeightInit::Default),
            positions: arch.key_positions.then(|| path.var("positions", &shape, position)),
        }
    }

    /// Residual tokens `[B, T, embed_dim]` to the context.
    pub fn forward(&self, tokens: &Tensor) -> Context {
        let values = self.proj.forward(tokens);
        let keys = match &self.positions {
            Some(positions) => &values + positions,
            None => values.shallow_clone(),
        };
        Context { keys, values }
    }
}

/// Builds the adapter's parts of the attention blocks, `attn.{0..}` in the order encoder, middle, decoder.
pub(crate) struct CrossAttentionBuilder<'a> {
    path: Path<'a>,
    arch: &'a AdapterArch,
    next: usize,
}

impl<'a> CrossAttentionBuilder<'a> {
    /// Starts at block 0; `path` is the adapter's.
    pub(crate) fn new(path: &Path<'a>, arch: &'a AdapterArch) -> Self {
        Self { path: path / "attn", arch, next: 0 }
    }

    /// Registers the part of the next attention block, of `channels` channels: `to_k_ip.weight` and `to_v_ip.weight`,
    /// both `[channels, context_dim]`.
    pub(crate) fn next(&mut self, channels: i64) -> CrossAttention {
        let path = &self.path / self.next;
        self.next += 1;
        let width = self.arch.context_dim;
        CrossAttention {
            to_k: Linear::without_bias(&path / "to_k_ip", width, channels, WeightInit::Default),
            // The U-Net has no text branch to clone from: random K', and V' at zero, leave it as it was at the start.
            to_v: Linear::without_bias(&path / "to_v_ip", width, channels, WeightInit::Zero),
            scale: self.arch.scale,
        }
    }
}

/// The adapter's part of one attention block: K', V' and lambda.
#[derive(Clone, Debug)]
pub(crate) struct CrossAttention {
    to_k: Linear,
    to_v: Linear,
    scale: f64,
}

impl CrossAttention {
    /// lambda * attend(q, K'(keys), V'(values)): `[B, heads, T, d]` for queries `q` of that shape, and `keys` and
    /// `values` of a [`Context`].
    pub(crate) fn forward(&self, q: &Tensor, keys: &Tensor, values: &Tensor) -> Tensor {
        let heads = q.size()[1];
        let k = split_heads(&self.to_k.forward(keys), heads);
        let v = split_heads(&self.to_v.forward(values), heads);
        attend(q, &k, &v) * self.scale
    }
}
