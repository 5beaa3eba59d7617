//! Running statistics survive a step that is skipped.

use tch::{Kind, TchError, Tensor};

/// Tensors that forward passes move, such as a BatchNorm's running statistics, and what they were before.
pub(super) struct KeptBuffers(Vec<(Tensor, Tensor)>);

impl KeptBuffers {
    /// Copies `buffers`.
    pub(super) fn new(buffers: &[Tensor]) -> Result<Self, TchError> {
        let keep = |buffer: &Tensor| {
            let mut kept = buffer.f_empty_like()?;
            kept.f_copy_(&buffer.f_detach()?)?;
            Ok((buffer.shallow_clone(), kept))
        };
        Ok(Self(buffers.iter().map(keep).collect::<Result<_, TchError>>()?))
    }

    /// Makes the buffers what they were if `nonfinite` (scalar) is not 0. The device decides; the host does not wait.
    pub(super) fn restore_if(&self, nonfinite: &Tensor) -> Result<(), TchError> {
        tch::no_grad(|| {
            let bad = nonfinite.f_to_kind(Kind::Bool)?;
            for (buffer, kept) in &self.0 {
                let value = kept.f_where_self(&bad, buffer)?;
                buffer.shallow_clone().f_copy_(&value)?;
            }
            Ok(())
        })
    }
}
