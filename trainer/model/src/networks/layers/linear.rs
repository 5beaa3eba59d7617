//! Linear layer.

use tch::Tensor;
use tch::nn::Path;

use super::init::WeightInit;
use crate::networks::ops::linear;

/// Linear layer over the last dimension.
#[derive(Debug)]
pub(crate) struct Linear {
    /// `[out, in]`, or `[out, in, 1]` if it is a convolution in the reference implementation.
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// Registers `weight` `[out, in]` and `bias` `[out]`, drawn as PyTorch's default.
    pub(crate) fn new(path: Path<'_>, cin: i64, cout: i64) -> Self {
        Self::register(&path, &[cout, cin], WeightInit::Default, true)
    }

    /// Registers `weight` `[out, in]` only, drawn as `init` says.
    pub(crate) fn without_bias(path: Path<'_>, cin: i64, cout: i64, init: WeightInit) -> Self {
        Self::register(&path, &[cout, cin], init, false)
    }

    /// Registers `weight` `[out, in, 1]` and `bias` `[out]`: the 1-D convolution of kernel 1 that guided-diffusion uses
    /// over tokens.
    pub(crate) fn pointwise(path: Path<'_>, cin: i64, cout: i64, init: WeightInit) -> Self {
        Self::register(&path, &[cout, cin, 1], init, true)
    }

    fn register(path: &Path<'_>, shape: &[i64], init: WeightInit, bias: bool) -> Self {
        let (cout, cin) = (shape[0], shape[1]);
        let weight = path.var("weight", shape, init.weight(cin));
        Self { weight, bias: bias.then(|| path.var("bias", &[cout], init.bias(cin))) }
    }

    /// `[..., in]` to `[..., out]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        linear(x, &self.weight.flatten(1, -1), self.bias.as_ref())
    }
}

impl Clone for Linear {
    fn clone(&self) -> Self {
        Self { weight: self.weight.shallow_clone(), bias: self.bias.as_ref().map(Tensor::shallow_clone) }
    }
}
