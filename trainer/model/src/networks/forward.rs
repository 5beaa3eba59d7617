//! How a forward pass is run, and the one place where blocks are recomputed instead of kept.

use defusion_config::{Config, Stage};
use tch::Tensor;

use defusion_torch::checkpoint;

/// How a forward pass is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardOptions {
    /// Whether this is training: dropout is active then.
    pub train: bool,
    /// Blocks whose input has fewer channels than this are recomputed in backward: 0 for none, `i64::MAX` for all. It
    /// has no effect if no gradients are taken.
    pub recompute_below: i64,
}

impl ForwardOptions {
    /// Inference: no dropout, nothing recomputed.
    pub const EVAL: Self = Self { train: false, recompute_below: 0 };

    /// Training, recomputing what the config says for `stage`.
    pub fn train(config: &Config, stage: Stage) -> Self {
        Self::recomputing(defusion_footprint::recompute_below_in(config, stage))
    }

    /// Training, recomputing blocks whose input has fewer than `width` channels; `u64::MAX`: all of them.
    pub fn recomputing(width: u64) -> Self {
        Self { train: true, recompute_below: i64::try_from(width).unwrap_or(i64::MAX) }
    }
}

/// Runs one block (a ResBlock or an attention block) of a network.
///
/// `inputs` are all tensors that vary with the sample, the map `[B, C, ...]` first; parameters are `module`'s own, and
/// belong to this block only. If activations are not kept, the block is cloned (handles, not data) to be run again in
/// backward.
///
/// # Panics
/// If libtorch fails, like every operation of tch.
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
