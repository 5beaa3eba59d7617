//! Batch norm, with statistics of one rank's batch or of all ranks' batches.

use tch::Tensor;
use tch::nn::{Init, Path};

/// Share of the batch's statistics that goes into the running ones at every step.
const MOMENTUM: f64 = 0.1;
/// What is added to the variance.
const EPS: f64 = 1e-5;

/// BatchNorm over `[B, C, H, W]`, with running statistics as buffers that are saved but not trained.
#[derive(Debug)]
pub(crate) struct BatchNorm2d {
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
}

/// What BatchNorm needs to know of a batch.
#[derive(Debug)]
pub struct BatchStatistics {
    /// Mean of each channel, `[C]` float32, with gradient.
    pub mean: Tensor,
    /// Biased variance of each channel, `[C]` float32, with gradient.
    pub var: Tensor,
    /// Number of values that each channel has: B * H * W, over all ranks.
    pub count: f64,
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

    /// Normalises `x` with the batch's own statistics, which also move the running ones, if `train`; with the running
    /// ones otherwise.
    pub(crate) fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        x.batch_norm(
            Some(&self.weight),
            Some(&self.bias),
            Some(&self.running_mean),
            Some(&self.running_var),
            train,
            MOMENTUM,
            EPS,
            true,
        )
    }

    /// Normalises `x` with given statistics, such as those over all ranks, which also move the running ones.
    pub(crate) fn forward_with(&self, x: &Tensor, batch: &BatchStatistics) -> Tensor {
        let BatchStatistics { mean, var, count } = batch;
        tch::no_grad(|| {
            // As torch.nn.SyncBatchNorm: the running variance is the unbiased one.
            let unbiased = var * (count / (count - 1.0).max(1.0));
            let _ = self.running_mean.shallow_clone().lerp_(mean, MOMENTUM);
            let _ = self.running_var.shallow_clone().lerp_(&unbiased, MOMENTUM);
        });
        let channels = |t: &Tensor| t.view([1, -1, 1, 1]);
        let scale = &self.weight * (var + EPS).rsqrt();
        let shift = &self.bias - mean * &scale;
        x * channels(&scale) + channels(&shift)
    }
}
