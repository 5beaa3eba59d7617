//! Depth for images that have none.

use super::Setting;
use super::scratch::Scratch;
use super::value_noise::ValueNoise;
use crate::Rng;

/// A random plane with fractal relief, in (0, 1]. The public generators blur their depth maps (HeavyRainRemoval by a
/// Gaussian of 5 px, OneRestore by a box of 22 px); here the relief holds nothing finer to begin with.
#[derive(Clone, Debug, PartialEq)]
pub struct Depth {
    /// Nearest depth.
    pub near: f64,
    /// Farthest depth.
    pub far: f64,
    /// Amplitude of the relief relative to the plane's rise over the image.
    pub relief: f64,
    /// Direction towards which depth grows, degrees; 90 is upwards, as in most scenes.
    pub direction: f64,
    /// Finest cell of the relief, pixels.
    pub finest: f64,
}

impl Depth {
    pub(super) fn draw(setting: &Setting, rng: &mut Rng) -> Self {
        let range = &setting.synthesis.depth;
        Self {
            near: rng.range(range.near),
            far: rng.range(range.far),
            relief: rng.range(range.relief),
            direction: rng.range([20.0, 160.0]),
            finest: 32.0 * setting.length_scale,
        }
    }

    /// The map of an image of `width` x `height`, row-major; its least value is `near`, its greatest `far`.
    pub(super) fn map(&self, width: usize, height: usize, rng: &mut Rng) -> Scratch {
        let side = width.max(height) as f64;
        let noise = ValueNoise { coarsest: side / 2.0, finest: self.finest.max(2.0), gain: 0.5 };
        let mut map = noise.field(width, height, rng);
        let (sin, cos) = self.direction.to_radians().sin_cos();
        // The relief has a standard deviation of about 1 as drawn; the plane rises by about 1 over the image.
        let (across, up, relief) = ((cos / side) as f32, (sin / side) as f32, (0.3 * self.relief) as f32);
        let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
        for (y, row) in map.chunks_exact_mut(width).enumerate() {
            for (x, v) in row.iter_mut().enumerate() {
                *v = relief * *v + across * x as f32 - up * y as f32;
                low = low.min(*v);
                high = high.max(*v);
            }
        }
        let scale = (self.far - self.near) as f32 / (high - low).max(1e-6);
        let near = self.near as f32;
        map.iter_mut().for_each(|v| *v = near + scale * (*v - low));
        map
    }
}
