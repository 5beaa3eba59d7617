//! Rain streaks, as HeavyRainRemoval's `datagen/render_rain.m` makes those of Outdoor-Rain.

use super::Setting;
use super::kernel::Kernel;
use super::normal::Normals;
use super::scratch::Scratch;
use crate::{Image, Rng};

/// Streaks `x + tau R`: R is Gaussian noise, clipped to [0, 1], enlarged, and blurred along the fall.
#[derive(Clone, Debug, PartialEq)]
pub struct Rain {
    /// Length of the streaks, pixels.
    pub length: f64,
    /// Direction of fall, degrees; 90 is straight down.
    pub angle: f64,
    /// Mean of the noise.
    pub mean: f64,
    /// Variance of the noise.
    pub variance: f64,
    /// Enlargement of the noise.
    pub enlargement: f64,
    /// Brightness.
    pub tau: f64,
}

impl Rain {
    pub(super) fn draw(setting: &Setting, rng: &mut Rng) -> Self {
        let (range, severity) = (&setting.synthesis.rain, setting.severity);
        let length = rng.range(severity.rising(range.length));
        Self {
            // Brightness goes by the length before scaling: it makes up for the blur, and a smaller canvas shows the
            // same rain.
            tau: 0.04 * length + 0.2 + rng.range([0.0, 0.05]),
            length: length * setting.length_scale,
            angle: rng.range(range.angle),
            mean: rng.range(severity.rising(range.mean)),
            variance: rng.range(severity.rising(range.variance)),
            enlargement: rng.range(range.enlargement),
        }
    }

    pub(super) fn render(&self, image: &mut Image, rng: Rng) {
        let (width, height) = (image.width(), image.height());
        let mut streaks = Scratch::zeros(width * height);
        self.streaks(width, height, rng, &mut streaks);
        let tau = self.tau as f32;
        for plane in image.data_mut().chunks_exact_mut(width * height) {
            for (v, r) in plane.iter_mut().zip(&*streaks) {
                *v += tau * r;
            }
        }
    }

    /// R. The noise has a margin for the blur, so streaks are as bright at the borders (the original's zero padding
    /// dims them there).
    fn streaks(&self, width: usize, height: usize, rng: Rng, out: &mut [f32]) {
        let kernel = Kernel::line(self.length, self.angle);
        let [rx, ry] = kernel.reach;
        let noise = self.enlarged_noise(width + 2 * rx, height + 2 * ry, rng);
        kernel.filter_padded(&noise, width, height, out);
        out.iter_mut().for_each(|v| *v = v.max(0.0));
    }

    fn enlarged_noise(&self, width: usize, height: usize, mut rng: Rng) -> Scratch {
        let across = Cubic::new(width, self.enlargement, rng.f64());
        let down = Cubic::new(height, self.enlargement, rng.f64());
        let (mean, deviation) = (self.mean as f32, self.variance.sqrt() as f32);
        let mut normals = Normals::new(rng);
        let mut source = vec![0.0; across.sources];
        let mut rows = Scratch::empty(width * down.sources);
        for _ in 0..down.sources {
            source.iter_mut().for_each(|v| *v = (mean + deviation * normals.next()).clamp(0.0, 1.0));
            rows.vec().extend(across.taps.iter().map(|(first, w)| {
                let s = &source[*first..*first + 4];
                w[0] * s[0] + w[1] * s[1] + w[2] * s[2] + w[3] * s[3]
            }));
        }
        let mut enlarged = Scratch::empty(width * height);
        for (first, w) in &down.taps {
            let [a, b, c, d] = [0, 1, 2, 3].map(|i| &rows[(first + i) * width..][..width]);
            enlarged.vec().extend(
                a.iter().zip(b).zip(c).zip(d).map(|(((a, b), c), d)| (w[0] * a + w[1] * b) + (w[2] * c + w[3] * d)),
            );
        }
        enlarged
    }
}

/// Bicubic enlargement along one axis (a = -0.5, as MATLAB's `imresize`).
struct Cubic {
    /// First of four sources, and their weights, per output.
    taps: Vec<(usize, [f32; 4])>,
    sources: usize,
}

impl Cubic {
    fn new(outputs: usize, enlargement: f64, phase: f64) -> Self {
        let near = |t: f64| 1.0 + t * t * (1.5 * t - 2.5);
        let far = |t: f64| 2.0 + t * (-4.0 + t * (2.5 - 0.5 * t));
        let taps: Vec<_> = (0..outputs)
            .map(|i| {
                let at = i as f64 / enlargement + phase;
                let t = at.fract();
                (at as usize, [far(1.0 + t), near(t), near(1.0 - t), far(2.0 - t)].map(|w| w as f32))
            })
            .collect();
        let sources = taps.last().map_or(0, |(first, _)| first + 4);
        Self { taps, sources }
    }
}
