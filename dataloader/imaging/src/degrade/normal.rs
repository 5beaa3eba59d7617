//! Normal deviates at a few nanoseconds each.

use std::sync::LazyLock;

use crate::Rng;

const LAYERS: usize = 256;
/// Where the tail begins, and the area of every layer (Marsaglia and Tsang, "The Ziggurat Method for Generating Random
/// Variables", 2000, 256 layers).
const TAIL: f64 = 3.654_152_885_361_009;
const AREA: f64 = 0.004_928_673_233_99;

struct Table {
    /// Half-width of layer i, falling; the last is 0.
    x: [f64; LAYERS + 1],
    /// exp(-x^2/2).
    density: [f64; LAYERS + 1],
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let f = |x: f64| (-0.5 * x * x).exp();
    let mut x = [0.0; LAYERS + 1];
    x[0] = AREA / f(TAIL);
    x[1] = TAIL;
    for i in 2..LAYERS {
        x[i] = (-2.0 * (AREA / x[i - 1] + f(x[i - 1])).ln()).sqrt();
    }
    Table { x, density: x.map(f) }
});

/// A stream of standard normal deviates. Layer and position come from different bits (Doornik, 2005).
pub(crate) struct Normals {
    rng: Rng,
    table: &'static Table,
}

impl Normals {
    pub fn new(rng: Rng) -> Self {
        Self { rng, table: &TABLE }
    }

    /// The next deviate.
    #[inline]
    pub fn next(&mut self) -> f32 {
        loop {
            let bits = self.rng.u64();
            let layer = (bits & 0xFF) as usize;
            // Signed, uniform in [-1, 1), 53 bits.
            let u = ((bits as i64) >> 11) as f64 / (1u64 << 52) as f64;
            let x = u * self.table.x[layer];
            if x.abs() < self.table.x[layer + 1] {
                return x as f32;
            }
            if let Some(x) = self.edge(layer, x) {
                return x;
            }
        }
    }

    #[cold]
    fn edge(&mut self, layer: usize, x: f64) -> Option<f32> {
        if layer == 0 {
            // Marsaglia's tail.
            loop {
                let a = -(1.0 - self.rng.f64()).ln() / TAIL;
                let b = -(1.0 - self.rng.f64()).ln();
                if 2.0 * b > a * a {
                    return Some((TAIL + a).copysign(x) as f32);
                }
            }
        }
        let [low, high] = [self.table.density[layer], self.table.density[layer + 1]];
        (low + (high - low) * self.rng.f64() < (-0.5 * x * x).exp()).then_some(x as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_tails_are_normal() {
        let mut normals = Normals::new(Rng::new(3, &[]));
        let n = 2_000_000;
        let (mut m1, mut m2, mut m4, mut beyond) = (0.0, 0.0, 0.0, [0u32; 4]);
        for _ in 0..n {
            let x = f64::from(normals.next());
            m1 += x;
            m2 += x * x;
            m4 += x.powi(4);
            for (count, limit) in beyond.iter_mut().zip([1.0, 2.0, 3.0, TAIL]) {
                *count += u32::from(x.abs() > limit);
            }
        }
        let n = f64::from(n);
        // Five standard errors each.
        assert!((m1 / n).abs() < 5.0 / n.sqrt());
        assert!((m2 / n - 1.0).abs() < 5.0 * (2.0 / n).sqrt());
        assert!((m4 / n - 3.0).abs() < 5.0 * (96.0 / n).sqrt());
        for (count, p) in beyond.into_iter().zip([0.317_310_5, 0.045_500_26, 0.002_699_796, 0.000_258_04]) {
            let error = f64::from(count) / n - p;
            assert!(error.abs() < 5.0 * (p / n).sqrt(), "{count} of {n} where {p} was expected");
        }
    }
}
