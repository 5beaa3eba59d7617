//! The parameters of each degradation, and the ranges of the paper and its sources.

use serde::{Deserialize, Serialize};

use super::Range;

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
