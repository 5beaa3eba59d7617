//! The 8 x 8 cosine transforms of libjpeg's accurate integer method (`jfdctint.c`, `jidctint.c`; Loeffler, Ligtenberg
//! and Moschytz, 1989, 12 multiplications), which libjpeg-turbo's SIMD code equals bit for bit.

/// Samples or coefficients, row-major.
pub(super) type Block = [i32; 64];

const CONST_BITS: i32 = 13;
const PASS1_BITS: i32 = 2;

const FIX_0_298631336: i32 = 2446;
const FIX_0_390180644: i32 = 3196;
const FIX_0_541196100: i32 = 4433;
const FIX_0_765366865: i32 = 6270;
const FIX_0_899976223: i32 = 7373;
const FIX_1_175875602: i32 = 9633;
const FIX_1_501321110: i32 = 12299;
const FIX_1_847759065: i32 = 15137;
const FIX_1_961570560: i32 = 16069;
const FIX_2_053119869: i32 = 16819;
const FIX_2_562915447: i32 = 20995;
const FIX_3_072711026: i32 = 25172;

fn descale(x: i32, bits: i32) -> i32 {
    (x + (1 << (bits - 1))) >> bits
}

/// Forward transform of samples in -128..=127, in place; coefficients come out scaled by 8.
pub(super) fn forward(block: &mut Block) {
    for row in 0..8 {
        forward_1d(block, 8 * row, 1, |sum| sum << PASS1_BITS, CONST_BITS - PASS1_BITS);
    }
    for column in 0..8 {
        forward_1d(block, column, 8, |sum| descale(sum, PASS1_BITS), CONST_BITS + PASS1_BITS);
    }
}

#[inline]
fn forward_1d(block: &mut Block, first: usize, step: usize, plain: impl Fn(i32) -> i32, bits: i32) {
    let d: [i32; 8] = std::array::from_fn(|i| block[first + i * step]);
    let [s0, s1, s2, s3] = [d[0] + d[7], d[1] + d[6], d[2] + d[5], d[3] + d[4]];
    let [t4, t5, t6, t7] = [d[3] - d[4], d[2] - d[5], d[1] - d[6], d[0] - d[7]];

    let [e0, e1, e2, e3] = [s0 + s3, s1 + s2, s1 - s2, s0 - s3];
    let z1 = (e2 + e3) * FIX_0_541196100;
    let mut out = [0; 8];
    out[0] = plain(e0 + e1);
    out[4] = plain(e0 - e1);
    out[2] = descale(z1 + e3 * FIX_0_765366865, bits);
    out[6] = descale(z1 - e2 * FIX_1_847759065, bits);

    let z5 = (t4 + t6 + t5 + t7) * FIX_1_175875602;
    let z1 = -(t4 + t7) * FIX_0_899976223;
    let z2 = -(t5 + t6) * FIX_2_562915447;
    let z3 = z5 - (t4 + t6) * FIX_1_961570560;
    let z4 = z5 - (t5 + t7) * FIX_0_390180644;
    out[7] = descale(t4 * FIX_0_298631336 + z1 + z3, bits);
    out[5] = descale(t5 * FIX_2_053119869 + z2 + z4, bits);
    out[3] = descale(t6 * FIX_3_072711026 + z2 + z3, bits);
    out[1] = descale(t7 * FIX_1_501321110 + z1 + z4, bits);
    for (i, v) in out.into_iter().enumerate() {
        block[first + i * step] = v;
    }
}

/// Inverse transform of dequantised coefficients, in place; samples are about 0 and not yet clamped.
pub(super) fn inverse(block: &mut Block) {
    for column in 0..8 {
        // Most columns of a coarse block are constant: libjpeg's shortcut, with the same result.
        if (1..8).all(|row| block[8 * row + column] == 0) {
            let dc = block[column] << PASS1_BITS;
            (0..8).for_each(|row| block[8 * row + column] = dc);
        } else {
            inverse_1d(block, column, 8, CONST_BITS - PASS1_BITS);
        }
    }
    for row in 0..8 {
        inverse_1d(block, 8 * row, 1, CONST_BITS + PASS1_BITS + 3);
    }
}

#[inline]
fn inverse_1d(block: &mut Block, first: usize, step: usize, bits: i32) {
    let d: [i32; 8] = std::array::from_fn(|i| block[first + i * step]);
    let z1 = (d[2] + d[6]) * FIX_0_541196100;
    let [e2, e3] = [z1 - d[6] * FIX_1_847759065, z1 + d[2] * FIX_0_765366865];
    let [e0, e1] = [(d[0] + d[4]) << CONST_BITS, (d[0] - d[4]) << CONST_BITS];
    let even = [e0 + e3, e1 + e2, e1 - e2, e0 - e3];

    let z5 = (d[7] + d[3] + d[5] + d[1]) * FIX_1_175875602;
    let z1 = -(d[7] + d[1]) * FIX_0_899976223;
    let z2 = -(d[5] + d[3]) * FIX_2_562915447;
    let z3 = z5 - (d[7] + d[3]) * FIX_1_961570560;
    let z4 = z5 - (d[5] + d[1]) * FIX_0_390180644;
    let odd = [
        d[1] * FIX_1_501321110 + z1 + z4,
        d[3] * FIX_3_072711026 + z2 + z3,
        d[5] * FIX_2_053119869 + z2 + z4,
        d[7] * FIX_0_298631336 + z1 + z3,
    ];
    for i in 0..4 {
        block[first + i * step] = descale(even[i] + odd[i], bits);
        block[first + (7 - i) * step] = descale(even[i] - odd[i], bits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    #[test]
    fn forward_is_the_cosine_transform_and_inverse_undoes_it() {
        let mut rng = Rng::new(1, &[]);
        let samples: Block = std::array::from_fn(|_| rng.below(256) as i32 - 128);
        let mut block = samples;
        forward(&mut block);
        let basis = |k: usize, i: usize| {
            let scale = if k == 0 { 0.5f64.sqrt() } else { 1.0 } / 2.0;
            scale * ((2 * i + 1) as f64 * k as f64 * std::f64::consts::PI / 16.0).cos()
        };
        for v in 0..8 {
            for u in 0..8 {
                let sum = |i: usize| f64::from(samples[i]) * basis(u, i % 8) * basis(v, i / 8);
                let exact: f64 = (0..64).map(sum).sum();
                assert!((f64::from(block[8 * v + u]) / 8.0 - exact).abs() < 0.5, "coefficient ({u}, {v})");
            }
        }
        let mut back = block.map(|c| descale(c, 3));
        inverse(&mut back);
        assert!(back.iter().zip(samples).all(|(a, b)| (a - b).abs() <= 2));
    }
}
