//! Between sRGB encoding and linear light (IEC 61966-2-1), by table: within 1e-6 of the formula.

use std::sync::LazyLock;

const STEPS: usize = 4096;

/// Linear light of sRGB value `v`.
pub(crate) fn decode(v: f64) -> f64 {
    if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
}

/// sRGB value of linear light `v`.
pub(crate) fn encode(v: f64) -> f64 {
    if v <= 0.003_130_8 { 12.92 * v } else { 1.055 * v.powf(1.0 / 2.4) - 0.055 }
}

/// A power of two that no index reaches: indices below it need no check of bounds.
const ROOM: usize = 2 * STEPS;

/// A smooth function on [0, 1], interpolated linearly.
pub(crate) struct Curve(Box<[f32; ROOM + 1]>);

impl Curve {
    /// Tabulates `f`.
    pub fn new(f: impl Fn(f64) -> f64) -> Self {
        let mut values = Box::new([0.0; ROOM + 1]);
        // One value more, so that the value at 1 has a right neighbour too.
        for (i, v) in values[..STEPS + 2].iter_mut().enumerate() {
            *v = f(i as f64 / STEPS as f64) as f32;
        }
        Self(values)
    }

    /// The value at `x`, which is clamped to [0, 1].
    #[inline]
    pub fn at(&self, x: f32) -> f32 {
        // Numbers about 1.5 * 2^23 are whole, and their last bits count them: adding it rounds, which is far cheaper than
        // a cast. Half a step less makes that rounding down; at a node it may be the one before, with the same value.
        const WHOLE: f32 = 12_582_912.0;
        let x = x.clamp(0.0, 1.0) * STEPS as f32;
        let whole = (x - 0.5) + WHOLE;
        let i = whole.to_bits() as usize & (ROOM - 1);
        let (a, b) = (self.0[i], self.0[i + 1]);
        a + (b - a) * (x - (whole - WHOLE))
    }
}

static DECODE: LazyLock<Curve> = LazyLock::new(|| Curve::new(decode));
/// Over the square root of the light: encoding is steep near black, its composition with a square is not.
static ENCODE: LazyLock<Curve> = LazyLock::new(|| Curve::new(|s| encode(s * s)));

/// sRGB to linear light; values are clamped to [0, 1].
pub(crate) fn to_linear(values: &mut [f32]) {
    let curve = &*DECODE;
    values.iter_mut().for_each(|v| *v = curve.at(*v));
}

/// Linear light to sRGB; values are clamped to [0, 1].
pub(crate) fn to_srgb(values: &mut [f32]) {
    let curve = &*ENCODE;
    values.iter_mut().for_each(|v| *v = curve.at(v.max(0.0).sqrt()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_follow_the_formulas() {
        for i in 0..=10_000 {
            let v = i as f32 / 10_000.0;
            let mut there = [v];
            to_linear(&mut there);
            assert!((f64::from(there[0]) - decode(v.into())).abs() < 1e-6, "linear light of {v}");
            let mut back = [v];
            to_srgb(&mut back);
            assert!((f64::from(back[0]) - encode(v.into())).abs() < 1e-6, "sRGB of {v}: {}", back[0]);
        }
    }

    #[test]
    fn every_8_bit_value_survives_both_ways() {
        for i in 0..=255u8 {
            let mut v = [f32::from(i) / 255.0];
            to_linear(&mut v);
            to_srgb(&mut v);
            assert_eq!((v[0] * 255.0).round(), f32::from(i));
        }
    }
}
