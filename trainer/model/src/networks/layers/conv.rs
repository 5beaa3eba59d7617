//! 2-D convolution.

use defusion_torch as torch;
use tch::nn::Path;
use tch::{Device, Tensor};

use super::init::WeightInit;
use crate::networks::ops::{linear, to_map, to_tokens, upsample};

/// 2-D convolution with a square kernel, padded with zeros to keep the size unless told otherwise.
#[derive(Debug)]
pub(crate) struct Conv2d {
    weight: Tensor,
    bias: Option<Tensor>,
    stride: i64,
    padding: i64,
}

impl Conv2d {
    /// Registers `weight` `[out, in, kernel, kernel]` and `bias` `[out]`, drawn as PyTorch's default.
    pub(crate) fn new(path: Path<'_>, cin: i64, cout: i64, kernel: i64) -> Self {
        Self::with_init(path, cin, cout, kernel, WeightInit::Default)
    }

    /// Registers `weight` and `bias`, drawn as `init` says.
    pub(crate) fn with_init(path: Path<'_>, cin: i64, cout: i64, kernel: i64, init: WeightInit) -> Self {
        let conv = Self::without_bias(&path, cin, cout, kernel, init);
        Self { bias: Some(path.var("bias", &[cout], init.bias(cin * kernel * kernel))), ..conv }
    }

    /// Registers `weight` only.
    pub(crate) fn without_bias(path: &Path<'_>, cin: i64, cout: i64, kernel: i64, init: WeightInit) -> Self {
        let weight = path.var("weight", &[cout, cin, kernel, kernel], init.weight(cin * kernel * kernel));
        Self { weight, bias: None, stride: 1, padding: kernel / 2 }
    }

    /// Sets the stride.
    pub(crate) fn stride(self, stride: i64) -> Self {
        Self { stride, ..self }
    }

    /// Sets the number of zeros on every side.
    pub(crate) fn padding(self, padding: i64) -> Self {
        Self { padding, ..self }
    }

    /// The weight, `[out, in, kernel, kernel]`.
    pub(crate) fn weight(&self) -> &Tensor {
        &self.weight
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

    /// The same over tokens `[B, T, in]`, for a kernel of 1: `[B, T, out]`.
    pub(crate) fn forward_tokens(&self, x: &Tensor) -> Tensor {
        linear(x, &self.weight.flatten(1, -1), self.bias.as_ref())
    }

    /// Returns whether this is best computed as a matrix product: a kernel of 1 over a channels-last map on a CPU.
    /// libtorch's convolution would unfold the map if one thread computes in float32.
    fn is_product_over(&self, x: &Tensor) -> bool {
        let kernel_is_1 = self.weight.size()[2..] == [1, 1] && self.stride == 1 && self.padding == 0;
        kernel_is_1 && x.device() == Device::Cpu && x.stride()[1] == 1
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
