//! Degradation categories.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::protocol::EXIT_USAGE;

/// A category of degradation: what a visual instruction can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
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
    /// All categories, in an order that never changes: the position is the category's code in shards and labels.
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

    /// Returns the name used in configs, shards, reports and on the command line.
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

impl ParseDegradationError {
    /// Whether starting again can help: never.
    pub fn is_transient(&self) -> bool {
        false
    }

    /// Exit code of a program that ends because of it.
    pub fn exit_code(&self) -> i32 {
        EXIT_USAGE
    }
}

impl std::str::FromStr for Degradation {
    type Err = ParseDegradationError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|d| d.name() == name).ok_or_else(|| ParseDegradationError(name.to_owned()))
    }
}
