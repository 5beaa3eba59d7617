//! The ranges that the parameters of synthetic degradations are drawn from.
//!
//! [`Severity`] narrows those ranges that decide how strong the degradation is to one third; angles, colours and shapes
//! keep theirs.

mod parameters;
mod severity;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use parameters::{
    DefocusBlur, Depth, GaussianBlur, GaussianNoise, Jpeg, LowLight, MotionBlur, Rain, Raindrop, RealNoise, Snow,
    Underwater, Veil,
};
pub use severity::Severity;

/// Lowest and highest value.
pub type Range = [f64; 2];

/// Parameter ranges of the synthetic degradations, `[low, high]`, drawn uniformly unless a key says otherwise. Pixel lengths
/// are for photographs; on the 256-pixel canvas of visual grounds they are halved. The bounds are those of physics, and of
/// work per image that stays finite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Synthesis {
    /// Rain streaks, those of heavy rain too.
    pub rain: Rain,
    /// The veil of heavy rain.
    pub heavy_rain: Veil,
    /// Falling snow.
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
    /// Additive Gaussian noise.
    pub gaussian_noise: GaussianNoise,
    /// Signal-dependent camera noise.
    pub real_noise: RealNoise,
    /// JPEG compression.
    pub jpeg: Jpeg,
    /// Under-exposure.
    pub low_light: LowLight,
    /// Colour cast and veil of water.
    pub underwater: Underwater,
    /// Depth, which heavy rain, haze and water need.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(synthesis: &Synthesis) -> Option<String> {
        crate::schema::check("data.synthesis", synthesis).err().map(|(key, _)| key.into_owned())
    }

    #[test]
    fn defaults_are_within_their_own_bounds() {
        assert_eq!(problem(&Synthesis::default()), None);
    }

    #[test]
    fn a_reversed_or_impossible_range_is_named() {
        let mut s = Synthesis::default();
        s.snow.opacity = [0.9, 0.4];
        assert_eq!(problem(&s).as_deref(), Some("data.synthesis.snow.opacity"));
        let mut s = Synthesis::default();
        s.jpeg.steps = vec![10, 0];
        assert_eq!(problem(&s).as_deref(), Some("data.synthesis.jpeg.steps.1"));
        let mut s = Synthesis::default();
        s.haze.beta = [f64::NAN, 1.0];
        assert_eq!(problem(&s).as_deref(), Some("data.synthesis.haze.beta"));
        let mut s = Synthesis::default();
        s.underwater.scatter[2] = [0.5, 1.1];
        assert_eq!(problem(&s).as_deref(), Some("data.synthesis.underwater.scatter.2"));
    }
}
