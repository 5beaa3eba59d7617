//! Sensor noise.

use super::normal::Normals;
use super::{Setting, light};
use crate::{Picture, Rng};

/// Additive white Gaussian noise on sRGB values.
#[derive(Clone, Debug, PartialEq)]
pub struct GaussianNoise {
    /// Standard deviation, 8-bit levels.
    pub sigma: f64,
    /// The same noise in all channels (Real-ESRGAN's grey noise).
    pub grey: bool,
}

impl GaussianNoise {
    pub(super) fn draw(setting: &Setting, rng: &mut Rng) -> Self {
        let range = &setting.synthesis.gaussian_noise;
        Self { sigma: rng.range(setting.severity.rising(range.sigma)), grey: rng.chance(range.grey) }
    }

    pub(super) fn render(&self, picture: &mut Picture, rng: Rng) {
        add(picture, (self.sigma / 255.0) as f32, self.grey, rng);
    }
}

/// Adds normal noise of standard deviation `sigma`.
pub(super) fn add(picture: &mut Picture, sigma: f32, grey: bool, rng: Rng) {
    let n = picture.width() * picture.height();
    let mut normals = Normals::new(rng);
    if !grey {
        picture.data_mut().iter_mut().for_each(|v| *v += sigma * normals.next());
        return;
    }
    let (red, rest) = picture.data_mut().split_at_mut(n);
    let (green, blue) = rest.split_at_mut(n);
    for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
        let e = sigma * normals.next();
        *r += e;
        *g += e;
        *b += e;
    }
}

/// Camera noise in linear light: normal with variance `shot^2 x + read^2` (CBDNet's heteroscedastic model, without its
/// demosaicking).
#[derive(Clone, Debug, PartialEq)]
pub struct RealNoise {
    /// Square root of the variance per unit of signal.
    pub shot: f64,
    /// Square root of the variance in the dark.
    pub read: f64,
}

impl RealNoise {
    pub(super) fn draw(setting: &Setting, rng: &mut Rng) -> Self {
        let (range, severity) = (&setting.synthesis.real_noise, setting.severity);
        Self { shot: rng.range(severity.rising(range.shot)), read: rng.range(severity.rising(range.read)) }
    }

    pub(super) fn render(&self, picture: &mut Picture, rng: Rng) {
        let (a, b) = ((self.shot * self.shot) as f32, (self.read * self.read) as f32);
        let mut normals = Normals::new(rng);
        light::to_linear(picture.data_mut());
        picture.data_mut().iter_mut().for_each(|v| *v += (a * *v + b).sqrt() * normals.next());
        light::to_srgb(picture.data_mut());
    }
}
