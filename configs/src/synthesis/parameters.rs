//! The parameters of each degradation. The paper states no ranges; each range names the public code it comes from, or else
//! is this project's.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Range;

macro_rules! ranges {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
        #[schemars(inner(range(min = 1, max = 512)))]
        length: Range = [21.0, 60.0],
        /// Direction of fall, degrees; 90 is straight down. Wider than HeavyRainRemoval's 80 to 100.
        #[schemars(inner(range(min = 0, max = 180)))]
        angle: Range = [60.0, 120.0],
        /// Mean of the noise before clipping: how dense the streaks are.
        #[schemars(inner(range(min = -4, max = 1)))]
        mean: Range = [-1.0, -0.8],
        /// Variance of the noise before clipping: how bright the streaks are.
        #[schemars(inner(range(min = 0, max = 4)))]
        variance: Range = [0.7, 1.0],
        /// Factor that the noise is enlarged by: how thick the streaks are.
        #[schemars(inner(range(min = 1, max = 8)))]
        enlargement: Range = [1.01, 1.21],
    }
}

ranges! {
    /// A veil of scattered light, `x t + A (1 - t)` with transmission `t = exp(-beta d)` and a depth `d` in (0, 1]. Haze
    /// has the range of OneRestore and RESIDE, heavy rain that of HeavyRainRemoval.
    Veil {
        /// Attenuation `beta`, per unit of depth.
        #[schemars(inner(range(min = 0, max = 100)))]
        beta: Range = [0.6, 2.0],
        /// Airlight `A`, in [0, 1].
        #[schemars(inner(range(min = 0, max = 1)))]
        airlight: Range = [0.6, 1.0],
    }
}

ranges! {
    /// Depth that is drawn because none was measured: a random plane with fractal relief.
    Depth {
        /// The nearest depth, a share of the farthest possible.
        #[schemars(inner(range(min = 0, max = 1)))]
        near: Range = [0.08, 0.25],
        /// The farthest depth, a share of the farthest possible.
        #[schemars(inner(range(min = 0, max = 1)))]
        far: Range = [0.5, 1.0],
        /// Amplitude of the relief relative to the plane's slope.
        #[schemars(inner(range(min = 0, max = 100)))]
        relief: Range = [0.2, 0.8],
    }
}

ranges! {
    /// Snow: three layers of flakes, far to near, blended by opacity as in OneRestore.
    Snow {
        /// Number of flakes on a 256 x 256 square, all layers together.
        #[schemars(inner(range(min = 0, max = 100_000)))]
        flakes: Range = [100.0, 600.0],
        /// Radius of the flakes of each layer, pixels.
        #[schemars(inner(inner(range(min = 0.1, max = 128))))]
        radius: [Range; 3] = [[1.0, 2.0], [2.0, 4.0], [4.0, 8.0]],
        /// Opacity of the flakes.
        #[schemars(inner(range(min = 0, max = 1)))]
        opacity: Range = [0.4, 1.0],
        /// Length of the flakes' motion blur, pixels: their speed.
        #[schemars(inner(range(min = 0, max = 512)))]
        blur: Range = [3.0, 12.0],
        /// Direction of fall, degrees; 90 is straight down.
        #[schemars(inner(range(min = 0, max = 180)))]
        angle: Range = [50.0, 130.0],
        /// Brightness of the flakes, in [0, 1].
        #[schemars(inner(range(min = 0, max = 1)))]
        brightness: Range = [0.92, 1.0],
    }
}

ranges! {
    /// Drops on a pane before the lens, which show the scene behind inverted and out of focus.
    Raindrop {
        /// Number of drops on a 256 x 256 square.
        #[schemars(inner(range(min = 0, max = 10_000)))]
        count: Range = [5.0, 40.0],
        /// Radius of a drop, pixels; small drops are the more frequent ones.
        #[schemars(inner(range(min = 1, max = 512)))]
        radius: Range = [4.0, 24.0],
        /// Standard deviation of the blur of the scene within a drop, pixels.
        #[schemars(inner(range(min = 0, max = 64)))]
        blur: Range = [1.0, 3.0],
        /// Width of a drop's soft edge, pixels.
        #[schemars(inner(range(min = 0.1, max = 64)))]
        feather: Range = [1.0, 2.0],
        /// How many radii of the scene a drop's radius shows.
        #[schemars(inner(range(min = 0, max = 100)))]
        view: Range = [3.0, 6.0],
    }
}

ranges! {
    /// Motion blur: motion during exposure, averaged in linear light.
    MotionBlur {
        /// Length of the path, pixels.
        #[schemars(inner(range(min = 1, max = 512)))]
        length: Range = [5.0, 31.0],
        /// Probability of a shaken, curved path instead of a straight line.
        #[schemars(range(min = 0, max = 1))]
        trajectory: f64 = 0.3,
    }
}

ranges! {
    /// Defocus blur: an antialiased disc, as in imagecorruptions.
    DefocusBlur {
        /// Radius of the disc, pixels.
        #[schemars(inner(range(min = 0, max = 128)))]
        radius: Range = [1.5, 8.0],
        /// Standard deviation of the Gaussian that softens the disc, pixels.
        #[schemars(inner(range(min = 0, max = 16)))]
        softness: Range = [0.1, 0.5],
    }
}

ranges! {
    /// Gaussian blur; the range is within Real-ESRGAN's.
    GaussianBlur {
        /// Standard deviation, pixels.
        #[schemars(inner(range(min = 0, max = 64)))]
        sigma: Range = [0.2, 3.0],
    }
}

ranges! {
    /// Additive white Gaussian noise on sRGB values (PromptIR, Real-ESRGAN).
    GaussianNoise {
        /// Standard deviation, 8-bit levels.
        #[schemars(inner(range(min = 0, max = 255)))]
        sigma: Range = [5.0, 50.0],
        /// Probability that the noise is grey: the same in all channels.
        #[schemars(range(min = 0, max = 1))]
        grey: f64 = 0.4,
    }
}

ranges! {
    /// Camera noise in linear light: normal with variance `shot^2 x + read^2`, as in CBDNet.
    RealNoise {
        /// Square root of the variance per unit of signal.
        #[schemars(inner(range(min = 0, max = 1)))]
        shot: Range = [0.02, 0.16],
        /// Square root of the variance in the dark.
        #[schemars(inner(range(min = 0, max = 1)))]
        read: Range = [0.005, 0.06],
    }
}

ranges! {
    /// JPEG compression, 4:2:0, with the tables of the IJG. Qualities are drawn as in FBCNN.
    Jpeg {
        /// Probability that the quality is one of `steps`; otherwise it is a whole number of `quality`.
        #[schemars(range(min = 0, max = 1))]
        step_share: f64 = 0.75,
        /// Common qualities.
        #[schemars(inner(range(min = 1, max = 100)))]
        steps: Vec<u8> = vec![10, 20, 30, 40, 50, 60],
        /// Quality, 1 to 100; a lower one is a stronger degradation.
        #[schemars(inner(range(min = 1, max = 100)))]
        quality: Range = [8.0, 96.0],
    }
}

ranges! {
    /// Under-exposure, `R L^gamma` plus noise, with the image `x = R L`, as in OneRestore.
    LowLight {
        /// Exponent of the illumination.
        #[schemars(inner(range(min = 1, max = 16)))]
        gamma: Range = [2.0, 3.0],
        /// Standard deviation of the noise, in [0, 1].
        #[schemars(inner(range(min = 0, max = 1)))]
        noise: Range = [0.03, 0.08],
    }
}

ranges! {
    /// Light lost and scattered in water: per channel, `x exp(-b d) + B (1 - exp(-b d))`.
    Underwater {
        /// Attenuation `b` of red, green and blue, per unit of depth.
        #[schemars(inner(inner(range(min = 0, max = 100))))]
        attenuation: [Range; 3] = [[0.6, 2.0], [0.2, 0.8], [0.1, 0.6]],
        /// Scattered light `B` of red, green and blue, in [0, 1].
        #[schemars(inner(inner(range(min = 0, max = 1))))]
        scatter: [Range; 3] = [[0.0, 0.15], [0.35, 0.7], [0.35, 0.75]],
    }
}
