//! How fresh parameters are drawn.

use tch::nn::Init;

/// How the weight and the bias of a convolution or linear layer start.
#[derive(Clone, Copy)]
pub(crate) enum WeightInit {
    /// PyTorch's default, `kaiming_uniform(a = sqrt(5))`, which is uniform in +-1/sqrt(fan_in), for both. (tch's own
    /// default is sqrt(6) times wider for weights.)
    Default,
    /// Zero for both: the block that ends in this layer starts as the identity.
    Zero,
    /// Normal with mean 0 and this standard deviation for the weight; PyTorch's default for the bias.
    Normal(f64),
}

impl WeightInit {
    /// Returns the distribution of the weight; `fan_in` is the number of inputs that one output is summed from.
    pub(crate) fn weight(self, fan_in: i64) -> Init {
        match self {
            Self::Default => uniform(fan_in),
            Self::Zero => Init::Const(0.0),
            Self::Normal(stdev) => Init::Randn { mean: 0.0, stdev },
        }
    }

    /// Returns the distribution of the bias.
    pub(crate) fn bias(self, fan_in: i64) -> Init {
        match self {
            Self::Default | Self::Normal(_) => uniform(fan_in),
            Self::Zero => Init::Const(0.0),
        }
    }
}

fn uniform(fan_in: i64) -> Init {
    let bound = 1.0 / (fan_in as f64).sqrt();
    Init::Uniform { lo: -bound, up: bound }
}
