//! Vector quantiser with a straight-through gradient (taming-transformers, `VectorQuantizer2`).

use defusion_config::CodebookLoss;
use tch::nn::{Init, Path};
use tch::{Kind, Tensor};

/// Weight of the lesser term of the VQ loss.
const BETA: f64 = 0.25;

/// The codebook of `n_embed` codes of dimension D.
#[derive(Debug)]
pub struct Quantizer {
    embedding: Tensor,
}

/// What quantisation gives.
#[derive(Debug)]
pub struct Quantized {
    /// The nearest codes `[B, D, h, w]`, through which gradients pass to the encoder unchanged.
    pub z_q: Tensor,
    /// Their numbers `[B, h, w]`, i64.
    pub indices: Tensor,
    /// The VQ loss, a scalar.
    pub loss: Tensor,
}

impl Quantizer {
    /// Registers `embedding.weight` `[n_embed, embed_dim]`, uniform in +-1/n_embed.
    pub fn new(path: &Path<'_>, n_embed: i64, embed_dim: i64) -> Self {
        let bound = 1.0 / n_embed as f64;
        let init = Init::Uniform { lo: -bound, up: bound };
        Self { embedding: (path / "embedding").var("weight", &[n_embed, embed_dim], init) }
    }

    /// Replaces every vector of `e` `[B, D, h, w]` by the nearest code; the VQ loss is as `loss` says.
    pub fn forward(&self, e: &Tensor, loss: CodebookLoss) -> Quantized {
        let indices = self.indices(e);
        let codes = self.codes(&indices).permute([0, 3, 1, 2]);
        let encoder = (codes.detach() - e).square().mean(None::<Kind>);
        let codebook = (&codes - e.detach()).square().mean(None::<Kind>);
        let loss = match loss {
            CodebookLoss::Legacy => encoder + codebook * BETA,
            CodebookLoss::Corrected => encoder * BETA + codebook,
        };
        Quantized { z_q: e + (codes - e).detach(), indices, loss }
    }

    /// The number of the code nearest to each vector of `e` `[B, D, h, w]`: `[B, h, w]`, i64.
    pub fn indices(&self, e: &Tensor) -> Tensor {
        tch::no_grad(|| {
            // cdist is one of the operations that autocast keeps in float32: which code is nearest must not depend on
            // it. Mode 1 computes it by matrix multiplication.
            Tensor::cdist(&e.permute([0, 2, 3, 1]).flatten(1, 2), &self.embedding.unsqueeze(0), 2.0, 1)
                .argmin(-1, false)
                .unflatten(1, &e.size()[2..])
        })
    }

    /// The codes of `indices` (i64, any shape), exactly as the codebook holds them: `[..., D]`.
    pub fn codes(&self, indices: &Tensor) -> Tensor {
        Tensor::embedding(&self.embedding, indices, -1, false, false)
    }
}
