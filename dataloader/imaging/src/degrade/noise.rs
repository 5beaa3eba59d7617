//! Sensor noise.

use super::normal::Normals;
use super::{Setting, light};
use crate::{Image, Rng};

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

    pub(super) fn render(&self, image: &mut Image, rng: Rng) {
        add(image, (self.sigma / 255.0) as f32, self.grey, rng);
    }
}

/// Adds normal noise of standard deviation `sigma`.
pub(super) fn add(image: &mut Image, sigma: f32, grey: bool, rng: Rng) {
    let n = image.width() * image.height();
    let mut normals = Normals::new(rng);
    if !grey {
        image.data_mut().iter_mut().for_each(|v| *v += sigma * normals.next());
        return;
    }
    let (red, rest) = image.data_mut().split_at_mut(n);
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

    pub(super) fn render(&self, image: &mut Image, rng: Rng) {
        let (a, b) = ((self.shot * self.shot) as f32, (self.read * self.read) as f32);
        let mut normals = Normals::new(rng);
        light::to_linear(image.data_mut());
        image.data_mut().iter_mut().for_each(|v| *v += (a * *v + b).sqrt() * normals.next());
        light::to_srgb(image.data_mut());
    }
}
