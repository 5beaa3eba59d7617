//! How much of the codebook is in use, over all ranks and a window of steps.

use defusion_parallel::{Collective, ReduceOp};
use tch::{Device, Kind, Tensor};

use super::engine::EngineError;

/// Counts of codes since they were last asked for. They stay on the device.
pub(super) struct CodebookUse {
    /// `[n_embed]` int64.
    counts: Tensor,
}

impl CodebookUse {
    /// Starts with no code used.
    pub(super) fn new(codes: i64, device: Device) -> Result<Self, EngineError> {
        Ok(Self { counts: Tensor::f_zeros([codes], (Kind::Int64, device))? })
    }

    /// Adds the codes of this rank's samples: numbers, int64 of any shape.
    pub(super) fn count(&mut self, indices: &Tensor) -> Result<(), EngineError> {
        let indices = indices.f_flatten(0, -1)?;
        let _ = self.counts.f_index_add_(0, &indices, &indices.f_ones_like()?)?;
        Ok(())
    }

    /// Returns the share of codes that any rank has used in the window, and the perplexity of their distribution, which is
    /// `n_embed` if all are used alike and 1 if one is; a new window begins. Float32 scalars, equal on all ranks.
    pub(super) fn take(&mut self, comm: &dyn Collective) -> Result<[Tensor; 2], EngineError> {
        comm.all_reduce(&mut self.counts, ReduceOp::Sum, "codebook use")?;
        let share = &self.counts / self.counts.f_sum(Kind::Int64)?.f_clamp_min(1)?;
        let used = self.counts.f_gt(0)?.f_to_kind(Kind::Float)?.f_mean(Kind::Float)?;
        // 0 log 0 is 0.
        let entropy = share.f_xlogy(&share)?.f_sum(Kind::Float)?.f_neg()?;
        let _ = self.counts.f_zero_()?;
        Ok([used, entropy.f_exp()?])
    }
}

#[cfg(test)]
mod tests {
    use defusion_parallel::SoloCollective;

    use super::*;

    #[test]
    fn a_window_counts_all_its_steps_and_then_begins_anew() {
        let comm = SoloCollective::new();
        let mut codebook = CodebookUse::new(8, Device::Cpu).unwrap();
        let mut take = |steps: &[&[i64]]| {
            for step in steps {
                codebook.count(&Tensor::from_slice(step).view([1, -1])).unwrap();
            }
            codebook.take(&comm).unwrap().map(|value| value.double_value(&[]))
        };
        let near = |[used, perplexity]: [f64; 2], want: [f64; 2]| {
            assert!(
                (used - want[0]).abs() < 1e-6 && (perplexity - want[1]).abs() < 1e-5,
                "{used} {perplexity} {want:?}"
            );
        };
        near(take(&[&[0, 1], &[2, 3]]), [0.5, 4.0]);
        near(take(&[&[7, 7, 7], &[7]]), [0.125, 1.0]);
        // Three of four are one code: exp(0.75 ln 4/3 + 0.25 ln 4).
        near(take(&[&[0, 0, 0, 5]]), [0.25, 1.754_765]);
        near(take(&[]), [0.0, 1.0]);
    }
}
