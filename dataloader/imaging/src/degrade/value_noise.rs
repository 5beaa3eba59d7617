//! Fractal noise: octaves of smoothly interpolated random lattices.

use super::normal::Normals;
use super::scratch::Scratch;
use crate::Rng;

/// Octaves of value noise whose amplitude falls with their cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ValueNoise {
    /// Side of the coarsest lattice's cells, pixels.
    pub coarsest: f64,
    /// Cells are not made smaller than this, pixels.
    pub finest: f64,
    /// Amplitude of an octave relative to the next coarser one.
    pub gain: f64,
}

impl ValueNoise {
    /// A field of `width` x `height` about 0; the coarsest octave has unit variance at its lattice points.
    pub fn field(&self, width: usize, height: usize, rng: &mut Rng) -> Scratch {
        let mut field = Scratch::zeros(width * height);
        let (mut cell, mut amplitude) = (self.coarsest.max(1.0), 1.0);
        loop {
            add_octave(&mut field, width, height, cell, amplitude as f32, rng);
            cell /= 2.0;
            amplitude *= self.gain;
            if cell < self.finest.max(1.0) {
                return field;
            }
        }
    }
}

/// Quintic fade (Perlin, "Improving Noise", 2002).
fn fade(t: f64) -> f32 {
    (t * t * t * (t * (t * 6.0 - 15.0) + 10.0)) as f32
}

fn add_octave(field: &mut [f32], width: usize, height: usize, cell: f64, amplitude: f32, rng: &mut Rng) {
    // A random offset hides the lattice.
    let [x0, y0] = [rng.f64(), rng.f64()];
    let columns = (width as f64 / cell).ceil() as usize + 2;
    let rows = (height as f64 / cell).ceil() as usize + 2;
    let mut normals = Normals::new(rng.fork(0));
    let lattice: Vec<f32> = (0..columns * rows).map(|_| amplitude * normals.next()).collect();
    rng.u64();
    let across: Vec<(usize, f32)> = (0..width)
        .map(|x| {
            let at = x as f64 / cell + x0;
            (at as usize, fade(at.fract()))
        })
        .collect();
    let mut line = vec![0.0; columns];
    for (y, out) in field.chunks_exact_mut(width).enumerate() {
        let at = y as f64 / cell + y0;
        let (row, t) = (at as usize, fade(at.fract()));
        let (a, b) = (&lattice[row * columns..][..columns], &lattice[(row + 1) * columns..][..columns]);
        for ((o, a), b) in line.iter_mut().zip(a).zip(b) {
            *o = a + t * (b - a);
        }
        for (o, (i, t)) in out.iter_mut().zip(&across) {
            *o += line[*i] + t * (line[i + 1] - line[*i]);
        }
    }
}
