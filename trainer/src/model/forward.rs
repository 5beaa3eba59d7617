//! How a forward pass is run, and the one place where blocks are recomputed instead of kept.

use defusion_config::ActivationCheckpointing;
use tch::Tensor;

use crate::torch::checkpoint;

/// How a forward pass is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardOptions {
    /// Training: dropout is active.
    pub train: bool,
    /// What backward recomputes. Without gradients nothing is kept anyway, and this has no effect.
    pub checkpointing: ActivationCheckpointing,
}

impl ForwardOptions {
    /// Inference: no dropout, nothing recomputed.
    pub const EVAL: Self = Self { train: false, checkpointing: ActivationCheckpointing::None };

    /// Training.
    pub fn train(checkpointing: ActivationCheckpointing) -> Self {
        Self { train: true, checkpointing }
    }
}

/// Runs one block (a ResBlock or an attention block) of a network.
///
/// `inputs` are all tensors that vary with the sample; parameters are `module`'s own, and belong to this block only.
/// Where activations are not kept, the block is cloned (handles, not data) to be run again in backward.
///
/// # Panics
/// Where libtorch fails, like every operation of tch.
pub(crate) fn block<M, F>(options: &ForwardOptions, module: &M, inputs: &[&Tensor], forward: F) -> Tensor
where
    M: Clone + 'static,
    F: Fn(&M, &[&Tensor]) -> Tensor + 'static,
{
    match options.checkpointing {
        ActivationCheckpointing::None => forward(module, inputs),
        ActivationCheckpointing::Block => {
            let module = module.clone();
            let inputs: Vec<Tensor> = inputs.iter().map(|input| input.shallow_clone()).collect();
            let again = move |inputs: &[Tensor]| forward(&module, &inputs.iter().collect::<Vec<_>>());
            checkpoint(again, &inputs).unwrap_or_else(|error| panic!("{error}"))
        }
    }
}
