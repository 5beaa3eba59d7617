//! Layers with PyTorch's default initialisation. Their clones are handles to the same parameters.

use tch::nn::{Init, Path};
use tch::{Device, Kind, Tensor};

use super::attention::{to_map, to_tokens};
use crate::torch::{self, Norm};

/// PyTorch's default for the weight and the bias of convolutions and linear layers: `kaiming_uniform(a = sqrt(5))`, which
/// is uniform in +-1/sqrt(fan_in). (tch's own default is sqrt(6) times wider for weights.)
fn default_init(fan_in: i64) -> Init {
    let bound = 1.0 / (fan_in as f64).sqrt();
    Init::Uniform { lo: -bound, up: bound }
}

/// How a layer's weight starts.
#[derive(Clone, Copy)]
pub(crate) enum Start {
    /// As PyTorch's default.
    Default,
    /// At zero, bias included: the block that ends in this layer starts as the identity.
    Zero,
    /// Normal with mean 0 and this standard deviation; bias as PyTorch's default.
    Normal(f64),
}

impl Start {
    fn weight(self, fan_in: i64) -> Init {
        match self {
            Self::Default => default_init(fan_in),
            Self::Zero => Init::Const(0.0),
            Self::Normal(stdev) => Init::Randn { mean: 0.0, stdev },
        }
    }

    fn bias(self, fan_in: i64) -> Init {
        match self {
            Self::Default | Self::Normal(_) => default_init(fan_in),
            Self::Zero => Init::Const(0.0),
        }
    }
}

/// 2-D convolution with a square kernel, zero-padded to keep the size unless told otherwise.
#[derive(Debug)]
pub(crate) struct Conv2d {
    pub(crate) weight: Tensor,
    bias: Option<Tensor>,
    stride: i64,
    padding: i64,
}

impl Conv2d {
    /// Registers `weight` `[out, in, kernel, kernel]` and `bias` `[out]`.
    pub(crate) fn new(path: Path<'_>, cin: i64, cout: i64, kernel: i64) -> Self {
        Self::starting(path, cin, cout, kernel, Start::Default)
    }

    pub(crate) fn starting(path: Path<'_>, cin: i64, cout: i64, kernel: i64, start: Start) -> Self {
        let conv = Self::without_bias(&path, cin, cout, kernel, start);
        Self { bias: Some(path.var("bias", &[cout], start.bias(cin * kernel * kernel))), ..conv }
    }

    pub(crate) fn without_bias(path: &Path<'_>, cin: i64, cout: i64, kernel: i64, start: Start) -> Self {
        let weight = path.var("weight", &[cout, cin, kernel, kernel], start.weight(cin * kernel * kernel));
        Self { weight, bias: None, stride: 1, padding: kernel / 2 }
    }

    pub(crate) fn stride(self, stride: i64) -> Self {
        Self { stride, ..self }
    }

    pub(crate) fn padding(self, padding: i64) -> Self {
        Self { padding, ..self }
    }

    /// `[B, in, H, W]` to `[B, out, H / stride, W / stride]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        if self.is_product_over(x) {
            return to_map(&self.forward_tokens(&to_tokens(x)), x);
        }
        x.conv2d(&self.weight, self.bias.as_ref(), self.stride, self.padding, 1, 1)
    }

    /// The same over `x` enlarged by 2 (nearest neighbour), for a kernel of 3: `[B, in, H, W]` to `[B, out, 2H, 2W]`.
    pub(crate) fn forward_upsampled(&self, x: &Tensor) -> Tensor {
        if x.device() != Device::Cpu || x.stride()[1] != 1 {
            return self.forward(&upsample(x));
        }
        torch::upsample_conv(x, &self.weight, self.bias.as_ref()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Whether this is best computed as a matrix product: a kernel of 1 over a channels-last map on a CPU. libtorch's
    /// convolution would unfold the map, where one thread computes in float32.
    fn is_product_over(&self, x: &Tensor) -> bool {
        let kernel_is_1 = self.weight.size()[2..] == [1, 1] && self.stride == 1 && self.padding == 0;
        kernel_is_1 && x.device() == Device::Cpu && x.stride()[1] == 1
    }

    /// The same over `[B, T, in]`, for a kernel of 1.
    pub(crate) fn forward_tokens(&self, x: &Tensor) -> Tensor {
        product(x, &self.weight.flatten(1, -1), self.bias.as_ref())
    }
}

impl Clone for Conv2d {
    fn clone(&self) -> Self {
        Self {
            weight: self.weight.shallow_clone(),
            bias: self.bias.as_ref().map(Tensor::shallow_clone),
            stride: self.stride,
            padding: self.padding,
        }
    }
}

/// Linear layer over the last dimension.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// Registers `weight` `[out, in]` and `bias` `[out]`.
    pub(crate) fn new(path: Path<'_>, cin: i64, cout: i64) -> Self {
        let weight = path.var("weight", &[cout, cin], default_init(cin));
        Self { weight, bias: Some(path.var("bias", &[cout], default_init(cin))) }
    }

    pub(crate) fn without_bias(path: Path<'_>, cin: i64, cout: i64, start: Start) -> Self {
        Self { weight: path.var("weight", &[cout, cin], start.weight(cin)), bias: None }
    }

    /// The 1-D convolution of kernel 1 that guided-diffusion uses over tokens: `weight` is `[out, in, 1]`.
    pub(crate) fn pointwise(path: Path<'_>, cin: i64, cout: i64, start: Start) -> Self {
        let weight = path.var("weight", &[cout, cin, 1], start.weight(cin));
        Self { weight, bias: Some(path.var("bias", &[cout], start.bias(cin))) }
    }

    /// `[..., in]` to `[..., out]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        product(x, &self.weight.flatten(1, -1), self.bias.as_ref())
    }
}

/// `x W^T + bias` over the last dimension of `x` `[..., in]`, with `weight` `[out, in]`.
///
/// In float32 on CPUs libtorch asks MKL, which is slow on processors that are not Intel's; for convolutions of kernel 1
/// it asks oneDNN, but only over batches of 16 and more where one thread computes. So tokens go there as 16 narrow maps.
fn product(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
    const MAPS: i64 = 16;
    let size = x.size();
    let (cin, cout) = (weight.size()[1], weight.size()[0]);
    let rows = if cin == 0 { 0 } else { x.numel() as i64 / cin };
    if x.device() != Device::Cpu || x.kind() != Kind::Float || rows % MAPS != 0 || rows < 4 * MAPS {
        return x.linear(weight, bias);
    }
    let maps = x.reshape([MAPS, rows / MAPS, 1, cin]).permute([0, 3, 1, 2]);
    let y = maps.conv2d(&weight.view([cout, cin, 1, 1]), bias, 1, 0, 1, 1);
    let y = y.permute([0, 2, 3, 1]);
    match size.split_last() {
        Some((_, leading)) => y.reshape([leading, &[cout]].concat()),
        None => y,
    }
}

impl Clone for Linear {
    fn clone(&self) -> Self {
        Self { weight: self.weight.shallow_clone(), bias: self.bias.as_ref().map(Tensor::shallow_clone) }
    }
}

/// GroupNorm with 32 groups, which is what both references use.
///
/// Statistics are float32 whatever the activations are: libtorch accumulates them so, and CUDA's autocast runs the whole
/// layer in float32, as guided-diffusion's `GroupNorm32` does. On CPUs, channels-last maps go through one fused function
/// ([`torch::group_norm`]) with what follows.
#[derive(Debug)]
pub(crate) struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl GroupNorm {
    /// Registers `weight` and `bias` `[channels]`.
    pub(crate) fn new(path: Path<'_>, channels: i64, eps: f64) -> Self {
        Self { weight: path.ones("weight", &[channels]), bias: path.zeros("bias", &[channels]), eps }
    }

    /// `[B, C, H, W]` to the same shape.
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        self.run(x, None, false)
    }

    /// SiLU of the normalised map.
    pub(crate) fn forward_silu(&self, x: &Tensor) -> Tensor {
        self.run(x, None, true)
    }

    /// The normalised map times `1 + scale`, plus `shift`; then SiLU, if wanted. `film` `[B, 2C]` holds scale, then shift.
    pub(crate) fn forward_film(&self, x: &Tensor, film: &Tensor, silu: bool) -> Tensor {
        self.run(x, Some(film), silu)
    }

    fn run(&self, x: &Tensor, film: Option<&Tensor>, silu: bool) -> Tensor {
        let norm = Norm { groups: 32, eps: self.eps, film, silu };
        match torch::group_norm(x, &self.weight, &self.bias, norm) {
            Ok(Some(y)) => y,
            Ok(None) => self.unfused(x, film, silu),
            Err(error) => panic!("{error}"),
        }
    }

    fn unfused(&self, x: &Tensor, film: Option<&Tensor>, silu: bool) -> Tensor {
        let mut y = x.group_norm(32, Some(&self.weight), Some(&self.bias), self.eps, true);
        if let Some(film) = film {
            let parts = film.unsqueeze(-1).unsqueeze(-1).chunk(2, 1);
            y = parts[1].addcmul(&y, &(&parts[0] + 1));
        }
        if silu { y.silu() } else { y }
    }
}

impl Clone for GroupNorm {
    fn clone(&self) -> Self {
        Self { weight: self.weight.shallow_clone(), bias: self.bias.shallow_clone(), eps: self.eps }
    }
}

/// BatchNorm over `[B, C, H, W]` (eps 1e-5, momentum 0.1), with running statistics as buffers that are saved but not
/// trained.
#[derive(Debug)]
pub(crate) struct BatchNorm2d {
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
}

impl BatchNorm2d {
    /// Registers `weight`, `bias`, `running_mean` and `running_var`, all `[channels]`; `weight` starts as N(1, stdev).
    pub(crate) fn new(path: Path<'_>, channels: i64, stdev: f64) -> Self {
        Self {
            weight: path.var("weight", &[channels], Init::Randn { mean: 1.0, stdev }),
            bias: path.zeros("bias", &[channels]),
            running_mean: path.zeros_no_train("running_mean", &[channels]),
            running_var: path.ones_no_train("running_var", &[channels]),
        }
    }

    /// With the batch's statistics, which also move the running ones (`train`), or with the running ones.
    pub(crate) fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        x.batch_norm(
            Some(&self.weight),
            Some(&self.bias),
            Some(&self.running_mean),
            Some(&self.running_var),
            train,
            MOMENTUM,
            1e-5,
            true,
        )
    }

    /// With given statistics of a batch, such as those over all ranks, which also move the running ones.
    pub(crate) fn forward_with(&self, x: &Tensor, batch: &BatchStatistics) -> Tensor {
        let BatchStatistics { mean, var, count } = batch;
        tch::no_grad(|| {
            // As torch.nn.SyncBatchNorm: the running variance is the unbiased one.
            let unbiased = var * (count / (count - 1.0).max(1.0));
            let _ = self.running_mean.shallow_clone().lerp_(mean, MOMENTUM);
            let _ = self.running_var.shallow_clone().lerp_(&unbiased, MOMENTUM);
        });
        let channels = |t: &Tensor| t.view([1, -1, 1, 1]);
        let scale = &self.weight * (var + 1e-5).rsqrt();
        let shift = &self.bias - mean * &scale;
        x * channels(&scale) + channels(&shift)
    }
}

/// Share of the batch's statistics that goes into BatchNorm's running ones.
const MOMENTUM: f64 = 0.1;

/// What BatchNorm needs to know of a batch: each channel's mean and biased variance `[C]` float32, with gradient, and how
/// many values a channel has.
#[derive(Debug)]
pub struct BatchStatistics {
    /// Mean of each channel.
    pub mean: Tensor,
    /// Biased variance of each channel.
    pub var: Tensor,
    /// Values per channel.
    pub count: f64,
}

/// Dropout that costs nothing where `p` is 0.
pub(crate) fn dropout(x: Tensor, p: f64, train: bool) -> Tensor {
    if train && p > 0.0 { x.dropout(p, true) } else { x }
}

/// Nearest-neighbour enlargement by 2: `[B, C, H, W]` to `[B, C, 2H, 2W]`.
pub(crate) fn upsample(x: &Tensor) -> Tensor {
    let (_, _, h, w) = x.size4().expect("a feature map has four dimensions");
    x.upsample_nearest2d([2 * h, 2 * w], None, None)
}

/// Mean over 2x2: `[B, C, H, W]` to `[B, C, H / 2, W / 2]`.
pub(crate) fn downsample(x: &Tensor) -> Tensor {
    x.avg_pool2d([2, 2], [2, 2], [0, 0], false, true, None)
}

/// guided-diffusion's sinusoidal embedding of timesteps `[B]` (integer or float): cosines, then sines, of `t` at
/// `dim / 2` frequencies from 1 down to nearly 1/10000. Gives `[B, dim]` float32; `dim` is even.
pub(crate) fn timestep_embedding(t: &Tensor, dim: i64) -> Tensor {
    let half = dim / 2;
    let exponents = Tensor::arange(half, (Kind::Float, t.device())) * (-(10_000f64.ln()));
    let frequencies = (exponents / half as f64).exp();
    let angles = t.to_kind(Kind::Float).unsqueeze(1) * frequencies.unsqueeze(0);
    Tensor::cat(&[angles.cos(), angles.sin()], 1)
}
