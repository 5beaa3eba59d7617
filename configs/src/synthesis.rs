//! The ranges that the parameters of synthetic degradations are drawn from.
//!
//! A range is `[low, high]`, drawn uniformly unless its field says otherwise. [`Severity`] narrows those ranges that
//! decide how strong the degradation is to one third; angles, colours and shapes keep theirs. Pixel lengths are for
//! photographs; on the 256-pixel canvas of visual grounds they are halved.

use serde::{Deserialize, Serialize};

/// Lowest and highest value.
pub type Range = [f64; 2];

/// How strong a synthetic degradation is: the third of each range that it is drawn from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The mildest third of every range.
    Light,
    /// Middle third.
    Medium,
    /// The strongest third.
    Heavy,
    /// The whole range: training.
    #[default]
    Any,
}

impl Severity {
    /// The part of `range` that this severity draws from, where a higher value is a stronger degradation.
    pub fn rising(self, [low, high]: Range) -> Range {
        let third = (high - low) / 3.0;
        match self {
            Self::Light => [low, low + third],
            Self::Medium => [low + third, high - third],
            Self::Heavy => [high - third, high],
            Self::Any => [low, high],
        }
    }

    /// As [`Severity::rising`], where a lower value is a stronger degradation (JPEG quality).
    pub fn falling(self, range: Range) -> Range {
        match self {
            Self::Light => Self::Heavy.rising(range),
            Self::Heavy => Self::Light.rising(range),
            other => other.rising(range),
        }
    }
}

macro_rules! ranges {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }
    };
}

ranges! {
    /// Rain streaks, as in HeavyRainRemoval's `datagen/render_rain.m`: Gaussian noise clipped to [0, 1], enlarged,
    /// motion-blurred, and added. Brightness follows length: `tau = 0.04 length + 0.2 + U(0, 0.05)`.
    Rain {
        /// Length of the streaks, pixels.
        length: Range = [21.0, 60.0],
        /// Direction of fall, degrees; 90 is straight down.
        angle: Range = [60.0, 120.0],
        /// Mean of the noise before clipping: how dense the streaks are.
        mean: Range = [-1.0, -0.8],
        /// Variance of the noise before clipping: how bright they are.
        variance: Range = [0.7, 1.0],
        /// Enlargement of the noise: how thick they are.
        enlargement: Range = [1.01, 1.21],
    }
}

ranges! {
    /// A veil of scattered light, `x t + A (1 - t)` with transmission `t = exp(-beta d)` and a depth `d` in (0, 1].
    Veil {
        /// Attenuation `beta`.
        beta: Range = [0.6, 2.0],
        /// Airlight `A`.
        airlight: Range = [0.6, 1.0],
    }
}

ranges! {
    /// Depth where none was measured: a random plane with fractal relief.
    Depth {
        /// The nearest depth.
        near: Range = [0.08, 0.25],
        /// The farthest depth.
        far: Range = [0.5, 1.0],
        /// Amplitude of the relief relative to the plane's slope.
        relief: Range = [0.2, 0.8],
    }
}

ranges! {
    /// Snow: three layers of flakes, far to near, blended by opacity.
    Snow {
        /// Number of flakes on a 256 x 256 square, all layers together.
        flakes: Range = [100.0, 600.0],
        /// Radius of the flakes of each layer, pixels.
        radius: [Range; 3] = [[1.0, 2.0], [2.0, 4.0], [4.0, 8.0]],
        /// Opacity of the flakes.
        opacity: Range = [0.4, 1.0],
        /// Length of the flakes' motion blur, pixels: their speed.
        blur: Range = [3.0, 12.0],
        /// Direction of fall, degrees; 90 is straight down.
        angle: Range = [50.0, 130.0],
        /// Brightness of the flakes.
        brightness: Range = [0.92, 1.0],
    }
}

ranges! {
    /// Drops on a pane before the lens, which show the scene behind inverted and out of focus.
    Raindrop {
        /// Number of drops on a 256 x 256 square.
        count: Range = [5.0, 40.0],
        /// Radius of a drop, pixels; small drops are the more frequent ones.
        radius: Range = [4.0, 24.0],
        /// Standard deviation of the blur of the scene within a drop, pixels.
        blur: Range = [1.0, 3.0],
        /// Width of a drop's soft edge, pixels.
        feather: Range = [1.0, 2.0],
        /// How many radii of the scene a drop's radius shows.
        view: Range = [3.0, 6.0],
    }
}

ranges! {
    /// Motion during exposure, averaged in linear light.
    MotionBlur {
        /// Length of the path, pixels.
        length: Range = [5.0, 31.0],
        /// Probability of a shaken, curved path instead of a straight line.
        trajectory: f64 = 0.3,
    }
}

ranges! {
    /// Out of focus: an antialiased disc.
    DefocusBlur {
        /// Radius of the disc, pixels.
        radius: Range = [1.5, 8.0],
        /// Standard deviation of the Gaussian that softens the disc, pixels.
        softness: Range = [0.1, 0.5],
    }
}

ranges! {
    /// Gaussian blur.
    GaussianBlur {
        /// Standard deviation, pixels.
        sigma: Range = [0.2, 3.0],
    }
}

ranges! {
    /// Additive white Gaussian noise on sRGB values.
    GaussianNoise {
        /// Standard deviation, 8-bit levels.
        sigma: Range = [5.0, 50.0],
        /// Probability that the noise is grey: the same in all channels.
        grey: f64 = 0.4,
    }
}

ranges! {
    /// Camera noise in linear light: normal with variance `shot^2 x + read^2`.
    RealNoise {
        /// Square root of the variance per unit of signal.
        shot: Range = [0.02, 0.16],
        /// Square root of the variance in the dark.
        read: Range = [0.005, 0.06],
    }
}

ranges! {
    /// JPEG, 4:2:0, the tables of the IJG.
    Jpeg {
        /// Probability that the quality is one of `steps`; otherwise it is a whole number of `quality`.
        step_share: f64 = 0.75,
        /// Common qualities.
        steps: Vec<u8> = vec![10, 20, 30, 40, 50, 60],
        /// Range of quality, 1 to 100.
        quality: Range = [8.0, 96.0],
    }
}

ranges! {
    /// Under-exposure, `R L^gamma` plus noise, with the picture `x = R L`.
    LowLight {
        /// Exponent of the illumination.
        gamma: Range = [2.0, 3.0],
        /// Standard deviation of the noise, in [0, 1].
        noise: Range = [0.03, 0.08],
    }
}

ranges! {
    /// Light lost and scattered in water: per channel, `x exp(-b d) + B (1 - exp(-b d))`.
    Underwater {
        /// Attenuation `b` of red, green and blue.
        attenuation: [Range; 3] = [[0.6, 2.0], [0.2, 0.8], [0.1, 0.6]],
        /// Scattered light `B` of red, green and blue.
        scatter: [Range; 3] = [[0.0, 0.15], [0.35, 0.7], [0.35, 0.75]],
    }
}

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
    fn severities_cut_a_range_into_thirds() {
        let range = [10.0, 40.0];
        assert_eq!(Severity::Light.rising(range), [10.0, 20.0]);
        assert_eq!(Severity::Medium.rising(range), [20.0, 30.0]);
        assert_eq!(Severity::Heavy.rising(range), [30.0, 40.0]);
        assert_eq!(Severity::Any.rising(range), range);
        assert_eq!(Severity::Heavy.falling(range), [10.0, 20.0]);
        assert_eq!(Severity::Light.falling(range), [30.0, 40.0]);
    }

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
