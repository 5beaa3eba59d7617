//! The ranges that the parameters of synthetic degradations are drawn from.
//!
//! A range is `[low, high]`, drawn uniformly unless its field says otherwise. [`Severity`] narrows those ranges that
//! decide how strong the degradation is to one third; angles, colours and shapes keep theirs. Pixel lengths are for
//! photographs; on the 256-pixel canvas of visual grounds they are halved.

mod parameters;
mod severity;

use serde::{Deserialize, Serialize};

pub use parameters::{
    DefocusBlur, Depth, GaussianBlur, GaussianNoise, Jpeg, LowLight, MotionBlur, Rain, Raindrop, RealNoise, Snow,
    Underwater, Veil,
};
pub use severity::Severity;

/// Lowest and highest value.
pub type Range = [f64; 2];

/// Parameter ranges of the synthetic degradations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Synthesis {
    /// Rain streaks; those of heavy rain too.
    pub rain: Rain,
    /// The veil of heavy rain.
    pub heavy_rain: Veil,
    /// Snow.
    pub snow: Snow,
    /// Drops on the lens.
    pub raindrop: Raindrop,
    /// Haze.
    pub haze: Veil,
    /// Motion blur.
    pub motion_blur: MotionBlur,
    /// Defocus blur.
    pub defocus_blur: DefocusBlur,
    /// Gaussian blur.
    pub gaussian_blur: GaussianBlur,
    /// Gaussian noise.
    pub gaussian_noise: GaussianNoise,
    /// Signal-dependent noise.
    pub real_noise: RealNoise,
    /// JPEG compression.
    pub jpeg: Jpeg,
    /// Low light.
    pub low_light: LowLight,
    /// Underwater.
    pub underwater: Underwater,
    /// The depth that heavy rain, haze and water need.
    pub depth: Depth,
}

impl Default for Synthesis {
    fn default() -> Self {
        Self {
            rain: Rain::default(),
            heavy_rain: Veil { beta: [3.0, 4.2], airlight: [0.3, 0.9] },
            snow: Snow::default(),
            raindrop: Raindrop::default(),
            haze: Veil::default(),
            motion_blur: MotionBlur::default(),
            defocus_blur: DefocusBlur::default(),
            gaussian_blur: GaussianBlur::default(),
            gaussian_noise: GaussianNoise::default(),
            real_noise: RealNoise::default(),
            jpeg: Jpeg::default(),
            low_light: LowLight::default(),
            underwater: Underwater::default(),
            depth: Depth::default(),
        }
    }
}

impl Synthesis {
    /// The first range that cannot work: its dotted key and what to do.
    pub(crate) fn problem(&self) -> Option<(&'static str, String)> {
        self.ranges().into_iter().find_map(|(key, [low, high], [least, most])| {
            let ok = low.is_finite() && high.is_finite() && low <= high && low >= least && high <= most;
            (!ok).then(|| (key, format!("[{low}, {high}] must be low, high within [{least}, {most}]")))
        })
    }

    /// Every range with its dotted key and the bounds that its physics set. The bounds on pixel lengths keep the
    /// work per picture finite.
    #[rustfmt::skip]
    fn ranges(&self) -> Vec<(&'static str, Range, Range)> {
        const SHARE: Range = [0.0, 1.0];
        const LENGTH: Range = [0.0, 512.0];
        const STRENGTH: Range = [0.0, 100.0];
        let s = self;
        let one = |p: f64| [p, p];
        let steps = s.jpeg.steps.iter().fold([100.0_f64, 1.0], |[lo, hi], q| [lo.min((*q).into()), hi.max((*q).into())]);
        let mut all = vec![
            ("data.synthesis.rain.length", s.rain.length, [1.0, 512.0]),
            ("data.synthesis.rain.angle", s.rain.angle, [0.0, 180.0]),
            ("data.synthesis.rain.mean", s.rain.mean, [-4.0, 1.0]),
            ("data.synthesis.rain.variance", s.rain.variance, [0.0, 4.0]),
            ("data.synthesis.rain.enlargement", s.rain.enlargement, [1.0, 8.0]),
            ("data.synthesis.heavy_rain.beta", s.heavy_rain.beta, STRENGTH),
            ("data.synthesis.heavy_rain.airlight", s.heavy_rain.airlight, SHARE),
            ("data.synthesis.snow.flakes", s.snow.flakes, [0.0, 1e5]),
            ("data.synthesis.snow.opacity", s.snow.opacity, SHARE),
            ("data.synthesis.snow.blur", s.snow.blur, LENGTH),
            ("data.synthesis.snow.angle", s.snow.angle, [0.0, 180.0]),
            ("data.synthesis.snow.brightness", s.snow.brightness, SHARE),
            ("data.synthesis.raindrop.count", s.raindrop.count, [0.0, 1e4]),
            ("data.synthesis.raindrop.radius", s.raindrop.radius, [1.0, 512.0]),
            ("data.synthesis.raindrop.blur", s.raindrop.blur, [0.0, 64.0]),
            ("data.synthesis.raindrop.feather", s.raindrop.feather, [0.1, 64.0]),
            ("data.synthesis.raindrop.view", s.raindrop.view, STRENGTH),
            ("data.synthesis.haze.beta", s.haze.beta, STRENGTH),
            ("data.synthesis.haze.airlight", s.haze.airlight, SHARE),
            ("data.synthesis.motion_blur.length", s.motion_blur.length, [1.0, 512.0]),
            ("data.synthesis.motion_blur.trajectory", one(s.motion_blur.trajectory), SHARE),
            ("data.synthesis.defocus_blur.radius", s.defocus_blur.radius, [0.0, 128.0]),
            ("data.synthesis.defocus_blur.softness", s.defocus_blur.softness, [0.0, 16.0]),
            ("data.synthesis.gaussian_blur.sigma", s.gaussian_blur.sigma, [0.0, 64.0]),
            ("data.synthesis.gaussian_noise.sigma", s.gaussian_noise.sigma, [0.0, 255.0]),
            ("data.synthesis.gaussian_noise.grey", one(s.gaussian_noise.grey), SHARE),
            ("data.synthesis.real_noise.shot", s.real_noise.shot, SHARE),
            ("data.synthesis.real_noise.read", s.real_noise.read, SHARE),
            ("data.synthesis.jpeg.step_share", one(s.jpeg.step_share), SHARE),
            ("data.synthesis.jpeg.quality", s.jpeg.quality, [1.0, 100.0]),
            ("data.synthesis.low_light.gamma", s.low_light.gamma, [1.0, 16.0]),
            ("data.synthesis.low_light.noise", s.low_light.noise, SHARE),
            ("data.synthesis.depth.near", s.depth.near, SHARE),
            ("data.synthesis.depth.far", s.depth.far, SHARE),
            ("data.synthesis.depth.relief", s.depth.relief, STRENGTH),
        ];
        if !s.jpeg.steps.is_empty() {
            all.push(("data.synthesis.jpeg.steps", steps, [1.0, 100.0]));
        }
        all.extend(s.snow.radius.map(|r| ("data.synthesis.snow.radius", r, [0.1, 128.0])));
        all.extend(s.underwater.attenuation.map(|r| ("data.synthesis.underwater.attenuation", r, STRENGTH)));
        all.extend(s.underwater.scatter.map(|r| ("data.synthesis.underwater.scatter", r, SHARE)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_within_their_own_bounds() {
        assert_eq!(Synthesis::default().problem(), None);
    }

    #[test]
    fn a_reversed_or_impossible_range_is_named() {
        let mut s = Synthesis::default();
        s.snow.opacity = [0.9, 0.4];
        assert_eq!(s.problem().map(|p| p.0), Some("data.synthesis.snow.opacity"));
        let mut s = Synthesis::default();
        s.jpeg.steps = vec![10, 0];
        assert_eq!(s.problem().map(|p| p.0), Some("data.synthesis.jpeg.steps"));
        let mut s = Synthesis::default();
        s.haze.beta = [f64::NAN, 1.0];
        assert_eq!(s.problem().map(|p| p.0), Some("data.synthesis.haze.beta"));
    }
}
