//! Permutations that need no memory: where element `x` goes costs the same whatever their length.

use defusion_imaging::Rng;

/// Rounds of the Feistel network.
const ROUNDS: u64 = 6;

/// A permutation of `0..len` drawn by a key: a Feistel network over the next power of two; what it puts outside the
/// range is put again until it falls inside (fewer than two times on average).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Permutation {
    key: Rng,
    len: u64,
    /// Bits of the two halves.
    bits: [u32; 2],
}

impl Permutation {
    pub(crate) fn new(key: Rng, len: u64) -> Self {
        let bits = (64 - len.saturating_sub(1).leading_zeros()).max(2);
        Self { key, len, bits: [bits / 2, bits - bits / 2] }
    }

    /// Where `x`, which is below `len`, goes.
    pub(crate) fn at(&self, x: u64) -> u64 {
        if self.len < 2 {
            return x;
        }
        let mut x = x;
        loop {
            x = self.network(x);
            if x < self.len {
                return x;
            }
        }
    }

    fn network(&self, x: u64) -> u64 {
        let [mut left_bits, mut right_bits] = self.bits;
        let mut left = x >> right_bits;
        let mut right = x & ((1 << right_bits) - 1);
        for round in 0..ROUNDS {
            let mixed = self.key.fork(round << 58 ^ right).u64() & ((1 << left_bits) - 1);
            (left, right) = (right, left ^ mixed);
            (left_bits, right_bits) = (right_bits, left_bits);
        }
        left << right_bits | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use defusion_imaging::Rng;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_element_goes_to_its_own_place(seed: u64, len in 1u64..5000) {
            let p = Permutation::new(Rng::new(seed, &[]), len);
            let mut seen = vec![false; len as usize];
            for x in 0..len {
                prop_assert!(!std::mem::replace(&mut seen[p.at(x) as usize], true));
            }
        }

        #[test]
        fn long_ones_stay_in_range(seed: u64, len in 1u64..u64::MAX / 2, x: u64) {
            let p = Permutation::new(Rng::new(seed, &[]), len);
            prop_assert!(p.at(x % len) < len);
        }
    }

    #[test]
    fn places_are_even() {
        // Chi-square of where element 0 of 8 goes, over 8000 keys: 99.99% of fair draws stay below 29.9 (7 degrees).
        let mut counts = [0f64; 8];
        for seed in 0..8000 {
            counts[Permutation::new(Rng::new(seed, &[]), 8).at(0) as usize] += 1.0;
        }
        let chi: f64 = counts.iter().map(|c| (c - 1000.0).powi(2) / 1000.0).sum();
        assert!(chi < 29.9, "{counts:?}");
    }
}
