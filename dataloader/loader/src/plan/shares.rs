//! Which dataset sample `i` comes from: shares are exact over every block, not only on average.

use super::permutation::Permutation;
use defusion_imaging::Rng;

/// Samples of a block.
pub(crate) const BLOCK: u64 = 1000;
/// Blocks after which the pattern of rounded counts repeats; a power of two.
const PERIOD: u64 = 256;

/// Counts of each dataset in each block, such that in every block each count is its share rounded up or down, and
/// over `PERIOD` blocks all are exact (to 1 / 256,000).
///
/// Each dataset gets the whole part of its share of a block, and the seats left over are dealt by systematic sampling:
/// the fractions laid end to end, a comb of unit teeth over them, each tooth a seat. The comb's shift runs through
/// all values in a period, in bit-reversed order, so that seats come evenly.
#[derive(Clone, Debug)]
pub(crate) struct Shares {
    /// Samples of each dataset in a period.
    units: Vec<u64>,
    /// Extra seats of dataset `d` in the first `b` blocks of a period: `extras[b][d]`, b in 0..=PERIOD.
    extras: Vec<Vec<u64>>,
}

/// Place of a sample among its dataset's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) dataset: usize,
    /// Samples of the dataset before it, in the whole run.
    pub(crate) ordinal: u64,
}

impl Shares {
    /// The shares of datasets with these weights, all above 0.
    pub(crate) fn new(weights: &[f64]) -> Self {
        let units = apportion(weights, BLOCK * PERIOD);
        let mut extras = vec![vec![0; units.len()]];
        for block in 0..PERIOD {
            let shift = block.reverse_bits() >> (64 - PERIOD.trailing_zeros());
            let mut end = shift;
            let row = extras[block as usize].clone();
            let with_seats = row.iter().zip(&units).map(|(before, units)| {
                let start = end;
                end += units % PERIOD;
                before + (end / PERIOD - start / PERIOD)
            });
            extras.push(with_seats.collect());
        }
        Self { units, extras }
    }

    /// Share of each dataset in a run, as it is kept.
    pub(crate) fn exact(&self) -> Vec<f64> {
        self.units.iter().map(|units| *units as f64 / (BLOCK * PERIOD) as f64).collect()
    }

    /// Samples of dataset `d` before block `block`.
    fn before(&self, block: u64, d: usize) -> u64 {
        let (periods, rest) = (block / PERIOD, block % PERIOD);
        periods * self.units[d] + rest * (self.units[d] / PERIOD) + self.extras[rest as usize][d]
    }

    /// The dataset of sample `i`: the block's seats in an order of its own.
    pub(crate) fn place(&self, key: Rng, i: u64) -> Place {
        let (block, position) = (i / BLOCK, i % BLOCK);
        let mut seat = Permutation::new(key.fork(block), BLOCK).at(position);
        let mut dataset = 0;
        loop {
            let before = self.before(block, dataset);
            let count = self.before(block + 1, dataset) - before;
            // The counts of a block add up to its seats, so the last dataset is never passed by.
            if seat < count || dataset + 1 == self.units.len() {
                return Place { dataset, ordinal: before + seat };
            }
            seat -= count;
            dataset += 1;
        }
    }
}

/// Whole parts of `total` in proportion to the weights (largest remainders), at least one each.
fn apportion(weights: &[f64], total: u64) -> Vec<u64> {
    let sum: f64 = weights.iter().sum();
    let ideal: Vec<f64> = weights.iter().map(|w| w / sum * total as f64).collect();
    let mut parts: Vec<u64> = ideal.iter().map(|x| (*x as u64).max(1)).collect();
    let mut order: Vec<usize> = (0..parts.len()).collect();
    let lack = |parts: &[u64], d: usize| ideal[d] - parts[d] as f64;
    loop {
        let given: u64 = parts.iter().sum();
        order.sort_by(|a, b| lack(&parts, *b).total_cmp(&lack(&parts, *a)).then(a.cmp(b)));
        match given.cmp(&total) {
            std::cmp::Ordering::Equal => return parts,
            std::cmp::Ordering::Less => {
                for d in order.iter().take((total - given) as usize) {
                    parts[*d] += 1;
                }
            }
            std::cmp::Ordering::Greater => {
                let Some(d) = order.iter().rev().find(|d| parts[**d] > 1) else { return parts };
                parts[*d] -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use defusion_imaging::Rng;
    use proptest::prelude::*;

    fn weights() -> impl Strategy<Value = Vec<f64>> {
        proptest::collection::vec(prop_oneof![Just(1.0), 0.001..10.0f64], 1..20)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_block_holds_the_shares(weights in weights(), seed: u64, block in 0u64..1 << 40) {
            let shares = Shares::new(&weights);
            let sum: f64 = weights.iter().sum();
            for block in [block, block + 1] {
                let mut counts = vec![0u64; weights.len()];
                for i in block * BLOCK..(block + 1) * BLOCK {
                    counts[shares.place(Rng::new(seed, &[]), i).dataset] += 1;
                }
                for (count, weight) in counts.iter().zip(&weights) {
                    let share = weight / sum * BLOCK as f64;
                    prop_assert!((*count as f64 - share).abs() < 1.0, "{count} of a share of {share}");
                }
            }
        }

        #[test]
        fn ordinals_count_up_without_gaps(weights in weights(), seed: u64) {
            let shares = Shares::new(&weights);
            let mut seen = vec![Vec::new(); weights.len()];
            for i in 0..3 * BLOCK {
                let place = shares.place(Rng::new(seed, &[]), i);
                seen[place.dataset].push(place.ordinal);
            }
            for mut ordinals in seen {
                ordinals.sort_unstable();
                prop_assert!(ordinals.iter().enumerate().all(|(n, o)| n as u64 == *o));
            }
        }
    }

    #[test]
    fn a_period_is_exact() {
        let shares = Shares::new(&[1.0, 1.0, 1.0]);
        let ends: Vec<u64> = (0..3).map(|d| shares.before(PERIOD, d)).collect();
        assert_eq!(ends.iter().sum::<u64>(), BLOCK * PERIOD);
        assert!(ends.iter().all(|n| n.abs_diff(BLOCK * PERIOD / 3) <= 1), "{ends:?}");
        assert!((shares.exact()[0] - 1.0 / 3.0).abs() < 1e-5);
    }
}
