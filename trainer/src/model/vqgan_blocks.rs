//! The blocks that the tokenizer's encoder and decoder are made of (taming-transformers, `diffusionmodules/model.py`).

use tch::Tensor;
use tch::nn::Path;

use super::ForwardOptions;
use super::attention::{attend, to_map, to_tokens};
use super::forward::block;
use super::layers::{Conv2d, GroupNorm, dropout};

/// Epsilon of taming's GroupNorm.
pub(crate) const EPS: f64 = 1e-6;

/// `shortcut(x) + conv2(swish(norm2(conv1(swish(norm1(x))))))`, without time embedding.
#[derive(Clone, Debug)]
pub(crate) struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    norm2: GroupNorm,
    conv2: Conv2d,
    nin_shortcut: Option<Conv2d>,
    dropout: f64,
}

impl ResnetBlock {
    pub(crate) fn new(path: &Path<'_>, cin: i64, cout: i64, dropout: f64) -> Self {
        Self {
            norm1: GroupNorm::new(path / "norm1", cin, EPS),
            conv1: Conv2d::new(path / "conv1", cin, cout, 3),
            norm2: GroupNorm::new(path / "norm2", cout, EPS),
            conv2: Conv2d::new(path / "conv2", cout, cout, 3),
            nin_shortcut: (cin != cout).then(|| Conv2d::new(path / "nin_shortcut", cin, cout, 1)),
            dropout,
        }
    }

    /// `[B, Cin, H, W]` to `[B, Cout, H, W]`.
    pub(crate) fn forward(&self, x: &Tensor, options: &ForwardOptions) -> Tensor {
        let train = options.train;
        block(options, self, &[x], move |this, inputs| this.run(inputs[0], train))
    }

    fn run(&self, x: &Tensor, train: bool) -> Tensor {
        let h = self.conv1.forward(&self.norm1.forward_silu(x));
        let h = dropout(self.norm2.forward_silu(&h), self.dropout, train);
        let h = self.conv2.forward(&h);
        match &self.nin_shortcut {
            Some(shortcut) => shortcut.forward(x) + h,
            None => x + h,
        }
    }
}

/// Self-attention of a single head, scaled by 1/sqrt(C).
#[derive(Clone, Debug)]
pub(crate) struct AttnBlock {
    norm: GroupNorm,
    q: Conv2d,
    k: Conv2d,
    v: Conv2d,
    proj_out: Conv2d,
}

impl AttnBlock {
    pub(crate) fn new(path: &Path<'_>, channels: i64) -> Self {
        let conv = |name: &str| Conv2d::new(path / name, channels, channels, 1);
        Self {
            norm: GroupNorm::new(path / "norm", channels, EPS),
            q: conv("q"),
            k: conv("k"),
            v: conv("v"),
            proj_out: conv("proj_out"),
        }
    }

    /// `[B, C, H, W]` to the same shape.
    pub(crate) fn forward(&self, x: &Tensor, options: &ForwardOptions) -> Tensor {
        block(options, self, &[x], |this, inputs| this.run(inputs[0]))
    }

    fn run(&self, x: &Tensor) -> Tensor {
        let tokens = to_tokens(&self.norm.forward(x));
        let [q, k, v] = [&self.q, &self.k, &self.v].map(|conv| conv.forward_tokens(&tokens).unsqueeze(1));
        x + to_map(&self.proj_out.forward_tokens(&attend(&q, &k, &v).squeeze_dim(1)), x)
    }
}

/// Halves the size: one row and column of zeros right and below, then a strided convolution without padding.
#[derive(Debug)]
pub(crate) struct Downsample {
    conv: Conv2d,
}

impl Downsample {
    pub(crate) fn new(path: &Path<'_>, channels: i64) -> Self {
        Self { conv: Conv2d::new(path / "conv", channels, channels, 3).stride(2).padding(0) }
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        self.conv.forward(&x.constant_pad_nd([0, 1, 0, 1]))
    }
}
