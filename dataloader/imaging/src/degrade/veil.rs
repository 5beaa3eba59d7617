//! Haze, and the veil of heavy rain: `x t + A (1 - t)`, with transmission `t = exp(-beta d)` and airlight `A`
//! (Koschmieder; ranges of RESIDE, OneRestore's `syn_data.py` and HeavyRainRemoval's `render_haze.m`).

use defusion_config::synthesis::Veil;

use super::light::Curve;
use super::rain::Rain;
use super::{Depth, Setting};
use crate::{Image, Rng};

/// Haze.
#[derive(Clone, Debug, PartialEq)]
pub struct Haze {
    /// Attenuation at depth 1.
    pub beta: f64,
    /// Airlight, the same in all channels.
    pub airlight: f64,
    /// Depth.
    pub depth: Depth,
}

impl Haze {
    pub(super) fn draw(setting: &Setting, rng: &mut Rng) -> Self {
        Self::draw_in(&setting.synthesis.haze, setting, rng)
    }

    fn draw_in(range: &Veil, setting: &Setting, rng: &mut Rng) -> Self {
        Self {
            beta: rng.range(setting.severity.rising(range.beta)),
            airlight: rng.range(range.airlight),
            depth: Depth::draw(setting, rng),
        }
    }

    pub(super) fn render(&self, image: &mut Image, rng: Rng) {
        self.veil(image, rng, |d| d);
    }

    /// `profile` makes the distance that light travels from the drawn depth.
    fn veil(&self, image: &mut Image, mut rng: Rng, profile: impl Fn(f64) -> f64) {
        let (width, height) = (image.width(), image.height());
        let mut transmission = self.depth.map(width, height, &mut rng);
        let of_depth = Curve::new(|d| (-self.beta * profile(d)).exp());
        transmission.iter_mut().for_each(|d| *d = of_depth.at(*d));
        let airlight = self.airlight as f32;
        for plane in image.data_mut().chunks_exact_mut(width * height) {
            for (v, t) in plane.iter_mut().zip(&*transmission) {
                *v = airlight + t * (*v - airlight);
            }
        }
    }
}

/// Rain streaks, clipped, and then a veil over them (Outdoor-Rain).
#[derive(Clone, Debug, PartialEq)]
pub struct HeavyRain {
    /// The streaks.
    pub streaks: Rain,
    /// The veil.
    pub veil: Haze,
}

impl HeavyRain {
    pub(super) fn draw(setting: &Setting, rng: &mut Rng) -> Self {
        let streaks = Rain::draw(setting, rng);
        let mut veil = Haze::draw_in(&setting.synthesis.heavy_rain, setting, rng);
        // Its maps are scaled so that the farthest depth is 1.
        veil.depth.far = 1.0;
        Self { streaks, veil }
    }

    pub(super) fn render(&self, image: &mut Image, rng: Rng) {
        self.streaks.render(image, rng.fork(0));
        image.data_mut().iter_mut().for_each(|v| *v = v.min(1.0));
        // HeavyRainRemoval takes the reciprocal of its maps, `0.1 / (1.1 - d)` where d grows from 0 to 1: most of a scene
        // is near, and little of it is lost in the veil.
        self.veil.veil(image, rng.fork(1), |d| 0.1 / (1.1 - d));
    }
}
