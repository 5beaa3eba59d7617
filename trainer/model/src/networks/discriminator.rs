//! PatchGAN discriminator of pix2pix, as taming-transformers trains it beside the tokenizer (`NLayerDiscriminator`),
//! under its names.

use std::convert::Infallible;

use defusion_config::DiscriminatorArch;
use tch::Tensor;
use tch::nn::Path;

use super::layers::{BatchNorm2d, BatchStatistics, Conv2d, WeightInit};
use super::ops::leaky_relu;

/// 4x4 convolutions, BatchNorm, LeakyReLU(0.2); one logit for every patch.
///
/// Weights start as N(0, 0.02), BatchNorm's as N(1, 0.02).
#[derive(Debug)]
pub struct Discriminator {
    layers: Vec<(Conv2d, Option<BatchNorm2d>)>,
    logits: Conv2d,
}

impl Discriminator {
    /// Registers `main.{0..}` at `path`.
    pub fn new(path: &Path<'_>, arch: &DiscriminatorArch) -> Self {
        let path = path / "main";
        let normal = WeightInit::Normal(0.02);
        let width = |n: i64| arch.ndf * (1i64 << n.min(3));
        // The numbers in the names count convolution, norm and activation.
        let first = Conv2d::with_init(&path / 0, 3, width(0), 4, normal).stride(2).padding(1);
        let mut layers = vec![(first, None)];
        for n in 1..=arch.n_layers {
            let stride = if n < arch.n_layers { 2 } else { 1 };
            let at = 3 * n - 1;
            let conv = Conv2d::without_bias(&(&path / at), width(n - 1), width(n), 4, normal);
            let norm = BatchNorm2d::new(&path / (at + 1), width(n), 0.02);
            layers.push((conv.stride(stride).padding(1), Some(norm)));
        }
        let at = 3 * arch.n_layers + 2;
        let logits = Conv2d::with_init(&path / at, width(arch.n_layers), 1, 4, normal).padding(1);
        Self { layers, logits }
    }

    /// Images `[B, 3, H, W]` in [-1, 1] to logits `[B, 1, h, w]` float32, positive for real; h is about
    /// `H / 2^n_layers`.
    ///
    /// `train`: BatchNorm uses the batch's statistics and moves its running ones.
    pub fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        let result: Result<Tensor, Infallible> = self.run(x, |norm, h| Ok(norm.forward(h, train)));
        match result {
            Ok(logits) => logits,
        }
    }

    /// As [`Discriminator::forward`] in training, with statistics that the caller takes of each BatchNorm's input:
    /// those of all ranks make the result independent of how a batch is dealt to them.
    ///
    /// # Errors
    /// Those of `statistics`.
    pub fn forward_synced<E>(
        &self,
        x: &Tensor,
        statistics: impl Fn(&Tensor) -> Result<BatchStatistics, E>,
    ) -> Result<Tensor, E> {
        self.run(x, |norm, h| Ok(norm.forward_with(h, &statistics(h)?)))
    }

    fn run<E>(&self, x: &Tensor, normalize: impl Fn(&BatchNorm2d, &Tensor) -> Result<Tensor, E>) -> Result<Tensor, E> {
        let mut h = x.shallow_clone();
        for (conv, norm) in &self.layers {
            h = conv.forward(&h);
            if let Some(norm) = norm {
                h = normalize(norm, &h)?;
            }
            h = leaky_relu(&h);
        }
        Ok(self.logits.forward(&h))
    }
}

#[cfg(test)]
mod tests {
    use tch::nn::VarStore;
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn fresh_weights_are_normal() {
        let store = VarStore::new(Device::Cpu);
        Discriminator::new(&store.root(), &DiscriminatorArch::default());
        for (name, value) in store.variables() {
            let mean = value.mean(Kind::Double).double_value(&[]);
            let n = value.numel() as f64;
            if name.ends_with("weight") {
                let center = if value.dim() == 1 { 1.0 } else { 0.0 };
                let std = value.to_kind(Kind::Double).std(true).double_value(&[]);
                assert!((mean - center).abs() < 5.0 * 0.02 / n.sqrt(), "{name} has mean {mean}");
                assert!((std / 0.02 - 1.0).abs() < 5.0 / (2.0 * n).sqrt(), "{name} has deviation {std}");
            }
        }
        let variables = store.variables();
        assert_eq!(variables["main.3.bias"], Tensor::zeros_like(&variables["main.3.bias"]));
        let bound = 1.0 / (3.0f64 * 16.0).sqrt();
        let bias = variables["main.0.bias"].abs().max().double_value(&[]);
        assert!(bias <= bound && bias > 0.8 * bound);
    }
}
