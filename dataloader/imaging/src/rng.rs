//! Counter-based randomness: value `n` of stream `key` costs the same for every `n`, and nothing is stored.

/// A stream of random numbers that is a pure function of its key. Copies go their own ways.
///
/// SplitMix64 over a key that [`Rng::new`] mixes from the run's seed and a path of integers (sample, purpose, ...).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rng {
    state: u64,
}

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

#[inline]
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

impl Rng {
    /// Returns the stream of `seed` and `path`, such as `[sample, purpose]`.
    #[inline]
    pub fn new(seed: u64, path: &[u64]) -> Self {
        let mut state = mix(seed.wrapping_add(GOLDEN));
        for part in path {
            state = mix(state ^ mix(part.wrapping_add(GOLDEN))).wrapping_add(GOLDEN);
        }
        Self { state }
    }

    /// Returns a stream of its own for a part of the work; this one does not advance.
    #[inline]
    pub fn fork(&self, purpose: u64) -> Self {
        Self::new(self.state, &[purpose])
    }

    /// Draws 64 uniform bits.
    #[inline]
    pub fn u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// Draws a number uniform in [0, 1), with 53 bits.
    #[inline]
    pub fn f64(&mut self) -> f64 {
        (self.u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Draws a number uniform in [0, 1), with 24 bits.
    #[inline]
    pub fn f32(&mut self) -> f32 {
        (self.u64() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Draws a number uniform in [low, high).
    #[inline]
    pub fn range(&mut self, [low, high]: [f64; 2]) -> f64 {
        low + (high - low) * self.f64()
    }

    /// Draws a whole number uniform in 0..n, without bias that could matter (Lemire's multiplication); 0 if n is 0.
    #[inline]
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.u64()) * u128::from(n)) >> 64) as u64
    }

    /// Returns true with probability `p`.
    #[inline]
    pub fn chance(&mut self, p: f64) -> bool {
        self.f64() < p
    }

    /// Draws a pair of standard normal numbers (Box-Muller).
    #[inline]
    pub fn normal_pair(&mut self) -> [f32; 2] {
        let r = (-2.0 * (1.0 - self.f64()).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * self.f64()).sin_cos();
        [(r * cos) as f32, (r * sin) as f32]
    }

    /// Shuffles items in place (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}
