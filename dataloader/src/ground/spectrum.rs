//! A small two-dimensional Fourier transform, for noise of a given spectrum.

use std::f64::consts::TAU;

/// A complex number.
pub(super) type Complex = [f32; 2];

/// The unnormalised transform of a square of `side` x `side` values, row-major, in place: `sum x exp(+2 pi i k n / N)`.
/// `side` is a power of two.
pub(super) fn transform(values: &mut [Complex], side: usize) {
    let twiddles: Vec<Complex> = (0..side / 2)
        .map(|k| {
            let (sin, cos) = (TAU * k as f64 / side as f64).sin_cos();
            [cos as f32, sin as f32]
        })
        .collect();
    values.chunks_exact_mut(side).for_each(|row| line(row, &twiddles));
    transpose(values, side);
    values.chunks_exact_mut(side).for_each(|row| line(row, &twiddles));
    transpose(values, side);
}

fn transpose(values: &mut [Complex], side: usize) {
    for y in 0..side {
        for x in 0..y {
            values.swap(y * side + x, x * side + y);
        }
    }
}

/// Radix 2, decimation in time.
fn line(values: &mut [Complex], twiddles: &[Complex]) {
    let n = values.len();
    let bits = n.trailing_zeros();
    for i in 0..n {
        let j = if bits == 0 { 0 } else { i.reverse_bits() >> (usize::BITS - bits) };
        if i < j {
            values.swap(i, j);
        }
    }
    let mut half = 1;
    while half < n {
        let stride = n / (2 * half);
        for block in values.chunks_exact_mut(2 * half) {
            let (low, high) = block.split_at_mut(half);
            for ((a, b), [wr, wi]) in low.iter_mut().zip(high).zip(twiddles.iter().step_by(stride)) {
                let t = [b[0] * wr - b[1] * wi, b[0] * wi + b[1] * wr];
                *b = [a[0] - t[0], a[1] - t[1]];
                *a = [a[0] + t[0], a[1] + t[1]];
            }
        }
        half *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    #[test]
    fn equals_the_sum_it_stands_for() {
        let side = 8;
        let mut rng = Rng::new(5, &[]);
        let values: Vec<Complex> = (0..side * side).map(|_| [rng.f32(), rng.f32()]).collect();
        let mut fast = values.clone();
        transform(&mut fast, side);
        for (i, fast) in fast.iter().enumerate() {
            let (v, u) = (i / side, i % side);
            let mut sum = [0.0f64; 2];
            for (j, [re, im]) in values.iter().enumerate() {
                let (sin, cos) = (TAU * ((j / side) * v + (j % side) * u) as f64 / side as f64).sin_cos();
                sum[0] += f64::from(*re) * cos - f64::from(*im) * sin;
                sum[1] += f64::from(*re) * sin + f64::from(*im) * cos;
            }
            assert!((f64::from(fast[0]) - sum[0]).abs() < 1e-4 && (f64::from(fast[1]) - sum[1]).abs() < 1e-4);
        }
    }
}
