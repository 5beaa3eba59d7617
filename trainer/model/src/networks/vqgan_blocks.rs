//! The blocks that the tokenizer's encoder and decoder are made of (taming-transformers, `diffusionmodules/model.py`).

use tch::Tensor;
use tch::nn::Path;

use super::forward::{ForwardOptions, block};
use super::layers::{Conv2d, GroupNorm, VQGAN_EPS};
use super::ops::{attend, dropout, to_map, to_tokens};

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
    /// Registers `norm1`, `conv1`, `norm2`, `conv2` and, if the width changes, `nin_shortcut`.
    pub(crate) fn new(path: &Path<'_>, cin: i64, cout: i64, dropout: f64) -> Self {
        Self {
            norm1: GroupNorm::new(path / "norm1", cin, VQGAN_EPS),
            conv1: Conv2d::new(path / "conv1", cin, cout, 3),
            norm2: GroupNorm::new(path / "norm2", cout, VQGAN_EPS),
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
    /// Registers `norm`, `q`, `k`, `v` and `proj_out`.
    pub(crate) fn new(path: &Path<'_>, channels: i64) -> Self {
        let conv = |name: &str| Conv2d::new(path / name, channels, channels, 1);
        Self {
            norm: GroupNorm::new(path / "norm", channels, VQGAN_EPS),
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
    /// Registers `conv`.
    pub(crate) fn new(path: Path<'_>, channels: i64) -> Self {
        Self { conv: Conv2d::new(path / "conv", channels, channels, 3).stride(2).padding(0) }
    }

    /// `[B, C, H, W]` to `[B, C, H / 2, W / 2]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        self.conv.forward(&x.constant_pad_nd([0, 1, 0, 1]))
    }
}

/// One level of the encoder or decoder: ResBlocks, each followed by attention if the level has it.
#[derive(Debug)]
pub(crate) struct Level<S> {
    block: Vec<ResnetBlock>,
    attn: Vec<AttnBlock>,
    /// What changes the size after this level; none at the last.
    pub(crate) resample: Option<S>,
}

impl<S> Level<S> {
    /// Registers `block.{0..}` and, if `attends`, as many of `attn.{0..}`; `resample` is registered by the caller.
    pub(crate) fn new(
        path: &Path<'_>,
        [cin, cout]: [i64; 2],
        blocks: i64,
        attends: bool,
        dropout: f64,
        resample: Option<S>,
    ) -> Self {
        let width = |i| if i == 0 { cin } else { cout };
        Self {
            block: (0..blocks).map(|i| ResnetBlock::new(&(path / "block" / i), width(i), cout, dropout)).collect(),
            attn: (0..if attends { blocks } else { 0 }).map(|i| AttnBlock::new(&(path / "attn" / i), cout)).collect(),
            resample,
        }
    }

    /// `[B, Cin, H, W]` to `[B, Cout, H, W]`, without resampling.
    pub(crate) fn forward(&self, mut h: Tensor, options: &ForwardOptions) -> Tensor {
        for (i, block) in self.block.iter().enumerate() {
            h = block.forward(&h, options);
            if let Some(attn) = self.attn.get(i) {
                h = attn.forward(&h, options);
            }
        }
        h
    }
}

/// ResBlock, attention, ResBlock at the coarsest level.
#[derive(Debug)]
pub(crate) struct Middle {
    block_1: ResnetBlock,
    attn_1: AttnBlock,
    block_2: ResnetBlock,
}

impl Middle {
    /// Registers `block_1`, `attn_1` and `block_2`.
    pub(crate) fn new(path: &Path<'_>, ch: i64, dropout: f64) -> Self {
        Self {
            block_1: ResnetBlock::new(&(path / "block_1"), ch, ch, dropout),
            attn_1: AttnBlock::new(&(path / "attn_1"), ch),
            block_2: ResnetBlock::new(&(path / "block_2"), ch, ch, dropout),
        }
    }

    /// `[B, C, h, w]` to the same shape.
    pub(crate) fn forward(&self, h: &Tensor, options: &ForwardOptions) -> Tensor {
        let h = self.attn_1.forward(&self.block_1.forward(h, options), options);
        self.block_2.forward(&h, options)
    }
}
