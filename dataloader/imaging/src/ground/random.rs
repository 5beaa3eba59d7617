//! Random textures.

use super::regular::grey;
use super::spectrum::{self, Complex32};
use crate::degrade::normal::Normals;
use crate::degrade::value_noise::ValueNoise;
use crate::{Image, Rng};

/// Gaussian, uniform or binary noise, or Gaussian noise of its own in every channel.
pub(super) fn white_noise(side: usize, rng: &mut Rng) -> Image {
    let kind = rng.below(4);
    let spread = rng.range([0.1, 0.25]) as f32;
    let mut normals = Normals::new(rng.fork(0));
    let n = side * side;
    if kind == 3 {
        let mut image = Image::filled(side, side, 0.0);
        image.data_mut().iter_mut().for_each(|v| *v = (0.5 + spread * normals.next()).clamp(0.0, 1.0));
        return image;
    }
    let plane: Vec<f32> = (0..n)
        .map(|_| match kind {
            0 => (0.5 + spread * normals.next()).clamp(0.0, 1.0),
            1 => 0.5 + 2.0 * spread * (2.0 * rng.f32() - 1.0),
            _ => 0.5 + if rng.u64() & 1 == 0 { 2.0 * spread } else { -2.0 * spread },
        })
        .collect();
    grey(side, &plane)
}

/// Scales a plane to mean 0.5 and the given standard deviation, clamped to [0, 1].
fn normalise(plane: &mut [f32], spread: f32) {
    let n = plane.len().max(1) as f32;
    let mean = plane.iter().sum::<f32>() / n;
    let variance = plane.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / n;
    let scale = spread / variance.sqrt().max(1e-6);
    plane.iter_mut().for_each(|v| *v = (0.5 + scale * (*v - mean)).clamp(0.0, 1.0));
}

/// Grey, or a plane of its own for each channel.
fn grey_or_colour(side: usize, rng: &mut Rng, mut planes: impl FnMut(&mut Rng) -> [Vec<f32>; 3]) -> Image {
    let colour = rng.chance(0.5);
    let spread = rng.range([0.08, 0.2]) as f32;
    let mut planes = planes(rng);
    planes.iter_mut().for_each(|plane| normalise(plane, spread));
    if !colour {
        return grey(side, &planes[0]);
    }
    let mut image = Image::filled(side, side, 0.0);
    for (to, from) in image.data_mut().chunks_exact_mut(side * side).zip(&planes) {
        to.copy_from_slice(from);
    }
    image
}

/// Gaussian noise whose power falls as 1/f^a, a in [0.5, 2].
pub(super) fn power_law_noise(side: usize, rng: &mut Rng) -> Image {
    let exponent = rng.range([0.5, 2.0]);
    grey_or_colour(side, rng, |rng| {
        let [a, b] = power_law(side, exponent, rng);
        let [c, _] = power_law(side, exponent, rng);
        [a, b, c]
    })
}

/// Two independent planes of power spectrum 1/f^exponent: the real and the imaginary part of a filtered complex noise.
/// The noise is periodic over the next power of two.
pub(super) fn power_law(side: usize, exponent: f64, rng: &mut Rng) -> [Vec<f32>; 2] {
    let period = side.next_power_of_two();
    let mut normals = Normals::new(rng.fork(1));
    rng.u64();
    let frequency = |k: usize| k.min(period - k);
    let power = (-exponent / 4.0) as f32;
    // Of each frequency across and down. Amplitude is the root of power, and f the root of u^2 + v^2.
    let reach = period / 2 + 1;
    let mut amplitudes: Vec<f32> =
        (0..reach * reach).map(|i| ((i % reach).pow(2) + (i / reach).pow(2)) as f32).collect();
    amplitudes.iter_mut().for_each(|a| *a = a.powf(power));
    amplitudes[0] = 0.0;
    let mut values: Vec<Complex32> = (0..period * period)
        .map(|i| {
            let amplitude = amplitudes[frequency(i / period) * reach + frequency(i % period)];
            Complex32::new(amplitude * normals.next(), amplitude * normals.next())
        })
        .collect();
    spectrum::transform(&mut values, period);
    let part = |of: fn(&Complex32) -> f32| {
        values.chunks_exact(period).take(side).flat_map(|row| row[..side].iter().map(of)).collect()
    };
    [part(|z| z.re), part(|z| z.im)]
}

/// Fractional Brownian motion by octaves of value noise, Hurst exponent 0.2 to 0.9.
pub(super) fn fractal_noise(side: usize, rng: &mut Rng) -> Image {
    let gain = 2f64.powf(-rng.range([0.2, 0.9]));
    let noise = ValueNoise { coarsest: side as f64 / 2.0, finest: 2.0, gain };
    grey_or_colour(side, rng, |rng| [0, 1, 2].map(|_| noise.field(side, side, rng).to_vec()))
}

/// Radii of dead leaves on a tile of 128 pixels.
const LEAF_RADII: [f64; 2] = [2.0, 40.0];

/// A radius whose density falls as r^-3 on [low, high], by inverting its distribution.
pub(super) fn leaf_radius([low, high]: [f64; 2], rng: &mut Rng) -> f64 {
    let (a, b) = (low.powi(-2), high.powi(-2));
    (a - rng.f64() * (a - b)).sqrt().recip()
}

/// Dead leaves, grey or coloured.
pub(super) fn dead_leaves(side: usize, rng: &mut Rng) -> Image {
    let colour = rng.chance(0.5);
    leaves(side, colour, rng)
}

/// Dead leaves, coloured.
pub(super) fn coloured_leaves(side: usize, rng: &mut Rng) -> Image {
    leaves(side, true, rng)
}

/// Discs of density r^-3 on [2, 40] pixels (side 128) and values in [0.25, 0.75], laid from the front to the back until
/// no gap is left: an exact sample of the stationary model (Kendall and Thönnes, 1999).
fn leaves(side: usize, colour: bool, rng: &mut Rng) -> Image {
    let scale = side as f64 / 128.0;
    let [low, high] = LEAF_RADII.map(|r| r * scale);
    let n = side * side;
    let mut image = Image::filled(side, side, 0.5);
    let mut open = vec![true; n];
    let mut left = n;
    // About 6000 leaves close a tile; the bound only ends a run that no generator gives.
    for _ in 0..200_000 {
        if left == 0 {
            break;
        }
        let r = leaf_radius([low, high], rng);
        // A leaf's centre may lie outside, as far as the largest leaf reaches.
        let [cx, cy] = [0, 1].map(|_| rng.range([-high, side as f64 + high]));
        let grey = rng.range([0.25, 0.75]) as f32;
        let values = if colour { [0, 1, 2].map(|_| rng.range([0.25, 0.75]) as f32) } else { [grey; 3] };
        let rows = |c: f64| (c - r).ceil().max(0.0) as usize..((c + r).floor() + 1.0).clamp(0.0, side as f64) as usize;
        for y in rows(cy) {
            let half = (r * r - (y as f64 - cy).powi(2)).max(0.0).sqrt();
            let first = (cx - half).ceil().max(0.0) as usize;
            let end = ((cx + half).floor() + 1.0).clamp(0.0, side as f64) as usize;
            let row = y * side + first.min(end)..y * side + end;
            for (i, open) in row.clone().zip(&mut open[row]) {
                if std::mem::take(open) {
                    left -= 1;
                    (0..3).for_each(|c| image.data_mut()[c * n + i] = values[c]);
                }
            }
        }
    }
    image
}

#[cfg(test)]
mod tests;
