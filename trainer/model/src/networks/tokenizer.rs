//! Degradation tokenizer: taming-transformers' VQGAN, under its names (Defusion, Sec. 3.1; Esser et al. 2021).
//!
//! It encodes an instruction, which is a ground (a test chart) with the degradation applied, as a map of codes.
//! The difference between the codes of the degraded and of the clean ground is what the diffusion is instructed with.

use defusion_config::{CodebookLoss, TokenizerArch};
use tch::nn::Path;
use tch::{Kind, Tensor};

use super::forward::ForwardOptions;
use super::layers::{Conv2d, GroupNorm, VQGAN_EPS};
use super::quantizer::{Quantized, Quantizer};
use super::vqgan_blocks::{Downsample, Level, Middle};

/// The VQGAN: encoder, codebook, decoder.
#[derive(Debug)]
pub struct Tokenizer {
    encoder: Encoder,
    quant_conv: Conv2d,
    quantize: Quantizer,
    post_quant_conv: Conv2d,
    decoder: Decoder,
}

impl Tokenizer {
    /// Registers `encoder`, `decoder`, `quantize`, `quant_conv` and `post_quant_conv` at `path`.
    pub fn new(path: &Path<'_>, arch: &TokenizerArch) -> Self {
        Self {
            encoder: Encoder::new(&(path / "encoder"), arch),
            decoder: Decoder::new(&(path / "decoder"), arch),
            quantize: Quantizer::new(&(path / "quantize"), arch.n_embed, arch.embed_dim),
            quant_conv: Conv2d::new(path / "quant_conv", arch.z_channels, arch.embed_dim, 1),
            post_quant_conv: Conv2d::new(path / "post_quant_conv", arch.embed_dim, arch.z_channels, 1),
        }
    }

    /// Encodes images `[B, 3, H, W]` in [-1, 1]: what is to be quantised, `[B, embed_dim, h, w]` with
    /// `h = H / 2^(levels - 1)`.
    pub fn encode(&self, x: &Tensor, options: &ForwardOptions) -> Tensor {
        self.quant_conv.forward(&self.encoder.forward(x, options))
    }

    /// Replaces every vector of `e` `[B, embed_dim, h, w]` by the nearest code; the VQ loss is as `loss` says.
    pub fn quantize(&self, e: &Tensor, loss: CodebookLoss) -> Quantized {
        self.quantize.forward(e, loss)
    }

    /// Decodes codes `[B, embed_dim, h, w]` to images `[B, 3, H, W]`, near [-1, 1] but not clamped.
    pub fn decode(&self, z_q: &Tensor, options: &ForwardOptions) -> Tensor {
        self.decoder.forward(&self.post_quant_conv.forward(z_q), options)
    }

    /// The weight of the decoder's last convolution, `[3, ch, 3, 3]`, at which the adversarial loss is weighed against
    /// the others.
    pub fn last_layer(&self) -> &Tensor {
        self.decoder.conv_out.weight()
    }

    /// The instruction's tokens, `quant(E(v)) - quant(E(null))`: `[B, h*w, embed_dim]`, row-major, without gradient.
    ///
    /// `v`: instructions `[B, 3, H, W]` in [-1, 1]; `null`: the same grounds without degradation. If both have the same
    /// code the token is exactly zero. `pre_quantization` takes the difference before quantising instead.
    pub fn residual_tokens(&self, v: &Tensor, null: &Tensor, pre_quantization: bool) -> Tensor {
        tch::no_grad(|| {
            let e = self.encode(&Tensor::cat(&[v, null], 0), &ForwardOptions::EVAL);
            // Codes as the codebook holds them: `quantize`'s straight-through sum rounds, and zero would not stay zero.
            let z = match pre_quantization {
                true => e.permute([0, 2, 3, 1]),
                false => self.quantize.codes(&self.quantize.indices(&e)),
            };
            let halves = z.flatten(1, 2).chunk(2, 0);
            &halves[0] - &halves[1]
        })
    }

    /// The number of tokens of a square instruction of `size` pixels.
    pub fn token_count(arch: &TokenizerArch, size: i64) -> i64 {
        (size >> (arch.ch_mult.len() - 1)).pow(2)
    }
}

/// Returns the share of tokens `[B, T, embed_dim]` that are zero, a float32 scalar. It is high if a degradation is too
/// mild to change codes.
pub fn zero_share(tokens: &Tensor) -> Tensor {
    tokens.eq(0.0).all_dim(-1, false).to_kind(Kind::Float).mean(None::<Kind>)
}

/// Image to map of features: levels from fine to coarse, then the middle.
#[derive(Debug)]
struct Encoder {
    conv_in: Conv2d,
    down: Vec<Level<Downsample>>,
    mid: Middle,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Encoder {
    fn new(path: &Path<'_>, arch: &TokenizerArch) -> Self {
        let levels = arch.ch_mult.len();
        let width = |level: usize| arch.ch * arch.ch_mult[level];
        let down = |level: usize| {
            let path = path / "down" / level;
            let widths = [if level == 0 { arch.ch } else { width(level - 1) }, width(level)];
            let resample = (level + 1 < levels).then(|| Downsample::new(&path / "downsample", width(level)));
            let attends = arch.attn_levels.contains(&level);
            Level::new(&path, widths, arch.num_res_blocks, attends, arch.dropout, resample)
        };
        let ch = width(levels - 1);
        Self {
            conv_in: Conv2d::new(path / "conv_in", 3, arch.ch, 3),
            down: (0..levels).map(down).collect(),
            mid: Middle::new(&(path / "mid"), ch, arch.dropout),
            norm_out: GroupNorm::new(path / "norm_out", ch, VQGAN_EPS),
            conv_out: Conv2d::new(path / "conv_out", ch, arch.z_channels, 3),
        }
    }

    /// `[B, 3, H, W]` to `[B, z_channels, h, w]`.
    fn forward(&self, x: &Tensor, options: &ForwardOptions) -> Tensor {
        let mut h = self.conv_in.forward(x);
        for level in &self.down {
            h = level.forward(h, options);
            if let Some(downsample) = &level.resample {
                h = downsample.forward(&h);
            }
        }
        h = self.mid.forward(&h, options);
        self.conv_out.forward(&self.norm_out.forward_silu(&h))
    }
}

/// Map of features to image: the middle, then levels from coarse to fine.
#[derive(Debug)]
struct Decoder {
    conv_in: Conv2d,
    mid: Middle,
    /// Finest level first, as the names count; the decoder runs through it backwards.
    up: Vec<Level<Conv2d>>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Decoder {
    fn new(path: &Path<'_>, arch: &TokenizerArch) -> Self {
        let levels = arch.ch_mult.len();
        let width = |level: usize| arch.ch * arch.ch_mult[level];
        let up = |level: usize| {
            let path = path / "up" / level;
            let widths = [width((level + 1).min(levels - 1)), width(level)];
            let resample = (level > 0).then(|| Conv2d::new(&path / "upsample" / "conv", width(level), width(level), 3));
            let attends = arch.attn_levels.contains(&level);
            Level::new(&path, widths, arch.num_res_blocks + 1, attends, arch.dropout, resample)
        };
        let ch = width(levels - 1);
        Self {
            conv_in: Conv2d::new(path / "conv_in", arch.z_channels, ch, 3),
            mid: Middle::new(&(path / "mid"), ch, arch.dropout),
            up: (0..levels).map(up).collect(),
            norm_out: GroupNorm::new(path / "norm_out", width(0), VQGAN_EPS),
            conv_out: Conv2d::new(path / "conv_out", width(0), 3, 3),
        }
    }

    /// `[B, z_channels, h, w]` to `[B, 3, H, W]`.
    fn forward(&self, z: &Tensor, options: &ForwardOptions) -> Tensor {
        let mut h = self.mid.forward(&self.conv_in.forward(z), options);
        for level in self.up.iter().rev() {
            h = level.forward(h, options);
            if let Some(conv) = &level.resample {
                h = conv.forward_upsampled(&h);
            }
        }
        self.conv_out.forward(&self.norm_out.forward_silu(&h))
    }
}
