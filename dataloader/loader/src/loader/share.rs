//! How a step's samples are dealt to ranks.

use std::ops::Range;

use super::LoadError;

/// The samples that a rank takes of each step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share {
    /// Samples of a step over all ranks.
    batch: u64,
    /// The rank's first sample within a step.
    offset: u64,
    /// Samples that it takes; 0 if there are more ranks than samples.
    len: u64,
    /// `len * world / batch`.
    weight: f64,
}

impl Share {
    /// Deals `batch` samples: rank r of n takes `[floor(r * batch / n), floor((r + 1) * batch / n))`.
    ///
    /// # Errors
    /// [`LoadError::World`] if there is no such rank, nothing to deal, or the shares are to be cut into `accumulation`
    /// equal parts and cannot be.
    pub(super) fn of(batch: u64, rank: usize, world: usize, accumulation: u32) -> Result<Self, LoadError> {
        let refused = LoadError::World { batch, rank, world, accumulation };
        let (r, n, parts) = (rank as u64, world as u64, u64::from(accumulation));
        let samples = |r: u64| (u128::from(r) * u128::from(batch) / u128::from(n)) as u64;
        if r >= n || batch == 0 || (parts > 1 && !batch.is_multiple_of(n * parts)) {
            return Err(refused);
        }
        let (offset, len) = (samples(r), samples(r + 1) - samples(r));
        // Even shares weigh exactly one.
        Ok(Self { batch, offset, len, weight: (len * n) as f64 / batch as f64 })
    }

    /// The samples of step `step` that the rank computes: its own, or if it has none its neighbour's first, to go through
    /// the same collectives as the others.
    pub(super) fn rows(&self, step: u64) -> Range<u64> {
        let first = step * self.batch + self.offset;
        first..first + self.computed()
    }

    /// How many samples the rank computes in a step, at least one.
    pub(super) fn computed(&self) -> u64 {
        self.len.max(1)
    }

    /// Samples of a step over all ranks.
    pub(super) fn of_step(&self) -> u64 {
        self.batch
    }

    /// The rank's weight in a mean over ranks; 0 if none of its samples counts.
    pub(super) fn weight(&self) -> f64 {
        self.weight
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_sample_is_taken_once_and_weights_average_to_one(
            batch in 1u64..70, world in 1usize..40, step in 0u64..1000
        ) {
            let shares: Vec<Share> = (0..world).map(|r| Share::of(batch, r, world, 1).unwrap()).collect();
            let taken: Vec<u64> = shares.iter().filter(|s| s.weight() > 0.0).flat_map(|s| s.rows(step)).collect();
            prop_assert_eq!(taken, (step * batch..(step + 1) * batch).collect::<Vec<_>>());
            let mean = shares.iter().map(Share::weight).sum::<f64>() / world as f64;
            prop_assert!((mean - 1.0).abs() < 1e-12);
            for share in shares {
                // A rank without a sample computes one of the same step.
                let rows = share.rows(step);
                prop_assert!(!rows.is_empty() && rows.start >= step * batch && rows.end <= (step + 1) * batch);
                prop_assert!(batch % world as u64 != 0 || share.weight() == 1.0);
            }
        }
    }

    #[test]
    fn what_cannot_be_dealt_is_refused() {
        for (batch, rank, world, accumulation) in [(0, 0, 1, 1), (4, 2, 2, 1), (4, 0, 0, 1), (6, 0, 2, 2), (2, 0, 4, 2)]
        {
            assert!(Share::of(batch, rank, world, accumulation).is_err(), "{batch} {rank} {world} {accumulation}");
        }
        assert!(Share::of(8, 0, 2, 2).is_ok());
    }
}
