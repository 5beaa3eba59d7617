//! How a forward pass is run, and the one place where blocks are recomputed instead of kept.

use defusion_config::{Config, Stage, size};
use tch::Tensor;

use crate::torch::checkpoint;

/// How a forward pass is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardOptions {
    /// Training: dropout is active.
    pub train: bool,
    /// Blocks whose input has fewer channels than this are recomputed in backward: 0 for none, `i64::MAX` for all. Without
    /// gradients nothing is kept anyway, and this has no effect.
    pub recompute_below: i64,
}

impl ForwardOptions {
    /// Inference: no dropout, nothing recomputed.
    pub const EVAL: Self = Self { train: false, recompute_below: 0 };

    /// Training, with what is recomputed as the config of `stage` says.
    pub fn train(config: &Config, stage: Stage) -> Self {
        Self::recomputing(size::recompute_below_in(config, stage))
    }

    /// Training, where blocks with inputs of fewer than `width` channels are recomputed; `u64::MAX`: all of them.
    pub fn recomputing(width: u64) -> Self {
        Self { train: true, recompute_below: i64::try_from(width).unwrap_or(i64::MAX) }
    }
}

/// Runs one block (a ResBlock or an attention block) of a network.
///
/// `inputs` are all tensors that vary with the sample, the map `[B, C, ...]` first; parameters are `module`'s own, and belong to this block only.
/// Where activations are not kept, the block is cloned (handles, not data) to be run again in backward.
///
/// # Panics
/// Where libtorch fails, like every operation of tch.
pub(crate) fn block<M, F>(options: &ForwardOptions, module: &M, inputs: &[&Tensor], forward: F) -> Tensor
where
    M: Clone + 'static,
    F: Fn(&M, &[&Tensor]) -> Tensor + 'static,
{
    if inputs[0].size()[1] >= options.recompute_below {
        return forward(module, inputs);
    }
    let module = module.clone();
    let inputs: Vec<Tensor> = inputs.iter().map(|input| input.shallow_clone()).collect();
    let again = move |inputs: &[Tensor]| forward(&module, &inputs.iter().collect::<Vec<_>>());
    checkpoint(again, &inputs).unwrap_or_else(|error| panic!("{error}"))
}
