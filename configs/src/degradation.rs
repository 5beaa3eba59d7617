//! Degradation categories and the ranges that their parameters are drawn from.

use serde::{Deserialize, Serialize};

/// A category of degradation: what a visual instruction can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Degradation {
    /// Rain streaks.
    Rain,
    /// Rain streaks under a veil of mist (Outdoor-Rain).
    HeavyRain,
    /// Falling snow.
    Snow,
    /// Drops on the lens or window.
    Raindrop,
    /// Haze, fog, mist.
    Haze,
    /// Motion of the camera or the scene.
    MotionBlur,
    /// Out of focus.
    DefocusBlur,
    /// Gaussian blur.
    GaussianBlur,
    /// Additive Gaussian noise.
    GaussianNoise,
    /// Signal-dependent camera noise.
    RealNoise,
    /// JPEG compression, 4:2:0 with the IJG tables.
    Jpeg,
    /// Under-exposure.
    LowLight,
    /// Underwater colour cast and veil.
    Underwater,
}

impl Degradation {
    /// All categories, in a fixed order that never changes: its position is the category's code in shards and labels.
    pub const ALL: [Self; 13] = [
        Self::Rain,
        Self::HeavyRain,
        Self::Snow,
        Self::Raindrop,
        Self::Haze,
        Self::MotionBlur,
        Self::DefocusBlur,
        Self::GaussianBlur,
        Self::GaussianNoise,
        Self::RealNoise,
        Self::Jpeg,
        Self::LowLight,
        Self::Underwater,
    ];

    /// The name used in configs, shards, reports and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rain => "rain",
            Self::HeavyRain => "heavy_rain",
            Self::Snow => "snow",
            Self::Raindrop => "raindrop",
            Self::Haze => "haze",
            Self::MotionBlur => "motion_blur",
            Self::DefocusBlur => "defocus_blur",
            Self::GaussianBlur => "gaussian_blur",
            Self::GaussianNoise => "gaussian_noise",
            Self::RealNoise => "real_noise",
            Self::Jpeg => "jpeg",
            Self::LowLight => "low_light",
            Self::Underwater => "underwater",
        }
    }
}

impl std::fmt::Display for Degradation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no category.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a degradation; known are {known}", known = Degradation::ALL.map(Degradation::name).join(", "))]
pub struct ParseDegradationError(pub String);

impl std::str::FromStr for Degradation {
    type Err = ParseDegradationError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|d| d.name() == name).ok_or_else(|| ParseDegradationError(name.to_owned()))
    }
}

/// How strong a synthetic degradation is: the third of each parameter's range that it is drawn from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Lower third of every range.
    Light,
    /// Middle third.
    Medium,
    /// Upper third.
    Heavy,
    /// The whole range: training.
    #[default]
    Any,
}

/// Parameter ranges of the synthetic degradations, `[low, high]`, drawn uniformly unless the field says otherwise.
/// Pixel lengths are for photographs; on the 256-pixel ground canvas they are halved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Synthesis {
    /// Rain streak length in pixels.
    pub rain_length: [f64; 2],
    /// Rain streak angle in degrees; 90 falls straight down.
    pub rain_angle: [f64; 2],
    /// Attenuation of the heavy rain's veil.
    pub heavy_rain_beta: [f64; 2],
    /// Airlight of the heavy rain's veil.
    pub heavy_rain_airlight: [f64; 2],
    /// Haze attenuation.
    pub haze_beta: [f64; 2],
    /// Haze airlight.
    pub haze_airlight: [f64; 2],
    /// Opacity of snow flakes.
    pub snow_opacity: [f64; 2],
    /// Length of the snow flakes' motion blur, pixels.
    pub snow_blur: [f64; 2],
    /// Number of drops on a 256-pixel square.
    pub raindrop_count: [f64; 2],
    /// Radius of drops, pixels.
    pub raindrop_radius: [f64; 2],
    /// Length of motion blur, pixels.
    pub motion_length: [f64; 2],
    /// Radius of the defocus disc, pixels.
    pub defocus_radius: [f64; 2],
    /// Standard deviation of Gaussian blur, pixels.
    pub gaussian_blur_sigma: [f64; 2],
    /// Standard deviation of Gaussian noise, in 8-bit levels.
    pub gaussian_noise_sigma: [f64; 2],
    /// Share of Gaussian noise that is grey (the same in all channels).
    pub gaussian_noise_grey: f64,
    /// Square root of the signal-dependent variance of real noise, in linear light.
    pub real_noise_shot: [f64; 2],
    /// Square root of the constant variance of real noise, in linear light.
    pub real_noise_read: [f64; 2],
    /// JPEG quality.
    pub jpeg_quality: [f64; 2],
    /// Exponent of the low-light curve.
    pub low_light_gamma: [f64; 2],
    /// Standard deviation of the low-light noise, in [0, 1].
    pub low_light_noise: [f64; 2],
    /// Depth of water, relative.
    pub underwater_depth: [f64; 2],
}

impl Default for Synthesis {
    fn default() -> Self {
        Self {
            rain_length: [21.0, 60.0],
            rain_angle: [60.0, 120.0],
            heavy_rain_beta: [3.0, 4.2],
            heavy_rain_airlight: [0.3, 0.9],
            haze_beta: [0.6, 2.0],
            haze_airlight: [0.6, 1.0],
            snow_opacity: [0.4, 1.0],
            snow_blur: [3.0, 12.0],
            raindrop_count: [5.0, 40.0],
            raindrop_radius: [4.0, 24.0],
            motion_length: [5.0, 31.0],
            defocus_radius: [1.5, 8.0],
            gaussian_blur_sigma: [0.2, 3.0],
            gaussian_noise_sigma: [5.0, 50.0],
            gaussian_noise_grey: 0.4,
            real_noise_shot: [0.0, 0.16],
            real_noise_read: [0.0, 0.06],
            jpeg_quality: [8.0, 96.0],
            low_light_gamma: [2.0, 3.0],
            low_light_noise: [0.03, 0.08],
            underwater_depth: [0.3, 1.0],
        }
    }
}
