//! The two-dimensional Fourier transform, for noise of a given spectrum.

use rustfft::FftPlannerScalar;
pub(super) use rustfft::num_complex::Complex32;

/// Transforms a square of `side` x `side` values, row-major, in place and unnormalised: `sum x exp(+2 pi i k n / N)` along
/// both axes.
///
/// The planner that uses no vector instructions is deliberate: the others pick theirs by the CPU, and the last bits of a
/// sample would differ between machines.
pub(super) fn transform(values: &mut [Complex32], side: usize) {
    let fft = FftPlannerScalar::new().plan_fft_inverse(side);
    fft.process(values);
    transpose(values, side);
    fft.process(values);
    transpose(values, side);
}

fn transpose(values: &mut [Complex32], side: usize) {
    for y in 0..side {
        for x in 0..y {
            values.swap(y * side + x, x * side + y);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;
    use crate::Rng;

    #[test]
    fn equals_the_sum_it_stands_for() {
        let side = 8;
        let mut rng = Rng::new(5, &[]);
        let values: Vec<Complex32> = (0..side * side).map(|_| Complex32::new(rng.f32(), rng.f32())).collect();
        let mut fast = values.clone();
        transform(&mut fast, side);
        for (i, fast) in fast.iter().enumerate() {
            let (v, u) = (i / side, i % side);
            let mut sum = [0.0f64; 2];
            for (j, Complex32 { re, im }) in values.iter().enumerate() {
                let (sin, cos) = (TAU * ((j / side) * v + (j % side) * u) as f64 / side as f64).sin_cos();
                sum[0] += f64::from(*re) * cos - f64::from(*im) * sin;
                sum[1] += f64::from(*re) * sin + f64::from(*im) * cos;
            }
            assert!((f64::from(fast.re) - sum[0]).abs() < 1e-4 && (f64::from(fast.im) - sum[1]).abs() < 1e-4);
        }
    }
}
