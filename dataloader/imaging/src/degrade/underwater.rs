//! Under water: per channel `x exp(-b d) + B (1 - exp(-b d))`, with red attenuated most and a bluish or greenish B.

use super::light::Curve;
use super::{Depth, Setting};
use crate::{Image, Rng};

/// Underwater.
#[derive(Clone, Debug, PartialEq)]
pub struct Underwater {
    /// Attenuation of red, green and blue at depth 1.
    pub attenuation: [f64; 3],
    /// Scattered light.
    pub scatter: [f64; 3],
    /// Depth.
    pub depth: Depth,
}

impl Underwater {
    pub(super) fn draw(setting: &Setting, rng: &mut Rng) -> Self {
        let range = &setting.synthesis.underwater;
        let mut attenuation = range.attenuation.map(|r| rng.range(setting.severity.rising(r)));
        // Water takes red first; whether green or blue goes farther is the draw's.
        for other in 1..3 {
            if attenuation[other] > attenuation[0] {
                attenuation.swap(0, other);
            }
        }
        Self { attenuation, scatter: range.scatter.map(|r| rng.range(r)), depth: Depth::draw(setting, rng) }
    }

    pub(super) fn render(&self, image: &mut Image, mut rng: Rng) {
        let (width, height) = (image.width(), image.height());
        let depth = self.depth.map(width, height, &mut rng);
        for (c, plane) in image.data_mut().chunks_exact_mut(width * height).enumerate() {
            let transmission = Curve::new(|d| (-self.attenuation[c] * d).exp());
            let scatter = self.scatter[c] as f32;
            for (v, d) in plane.iter_mut().zip(&*depth) {
                *v = scatter + transmission.at(*d) * (*v - scatter);
            }
        }
    }
}
