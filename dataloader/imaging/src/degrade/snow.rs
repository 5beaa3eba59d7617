//! Falling snow: `x (1 - m) + c m` (OneRestore's blend), where m is three layers of flakes, near ones large and fast.

use super::Setting;
use super::kernel::{Kernel, gaussian};
use super::scratch::Scratch;
use crate::{Image, Rng};

/// Share of the flakes that each layer has: as many as make the layers cover about the same area.
const SHARES: [f64; 3] = [0.74, 0.2, 0.06];
/// How far a layer's flakes move, relative to the nearest layer's.
const SPEEDS: [f64; 3] = [0.5, 0.75, 1.0];

/// Snow.
#[derive(Clone, Debug, PartialEq)]
pub struct Snow {
    /// Flakes on a 256 x 256 square, per layer, far to near.
    pub flakes: [f64; 3],
    /// Least and greatest radius of the flakes, per layer, pixels.
    pub radius: [[f64; 2]; 3],
    /// Opacity of the flakes, per layer.
    pub opacity: [f64; 3],
    /// Length of the nearest layer's motion blur, pixels.
    pub blur: f64,
    /// Direction of fall, degrees; 90 is straight down.
    pub angle: f64,
    /// Brightness c of the flakes.
    pub brightness: f64,
}

impl Snow {
    pub(super) fn draw(setting: &Setting, rng: &mut Rng) -> Self {
        let (range, severity) = (&setting.synthesis.snow, setting.severity);
        let flakes = rng.range(severity.rising(range.flakes));
        Self {
            // On a smaller canvas flakes shrink and get more, so that they cover the same share of it.
            flakes: SHARES.map(|share| flakes * share * rng.range([0.5, 1.5]) / setting.length_scale.powi(2)),
            radius: range.radius.map(|r| r.map(|r| r * setting.length_scale)),
            opacity: SHARES.map(|_| rng.range(severity.rising(range.opacity))),
            blur: rng.range(severity.rising(range.blur)) * setting.length_scale,
            angle: rng.range(range.angle),
            brightness: rng.range(range.brightness),
        }
    }

    pub(super) fn render(&self, image: &mut Image, rng: Rng) {
        let (width, height) = (image.width(), image.height());
        let mut clear = Scratch::empty(width * height);
        clear.vec().resize(width * height, 1.0);
        for layer in 0..3 {
            let flakes = self.layer(layer, width, height, rng.fork(layer as u64));
            let opacity = self.opacity[layer] as f32;
            clear.iter_mut().zip(&*flakes).for_each(|(clear, m)| *clear *= 1.0 - opacity * m.min(1.0));
        }
        let brightness = self.brightness as f32;
        for plane in image.data_mut().chunks_exact_mut(width * height) {
            for (v, clear) in plane.iter_mut().zip(&*clear) {
                *v = brightness + clear * (*v - brightness);
            }
        }
    }

    /// Coverage by one layer's flakes, moved during exposure and a little out of focus.
    fn layer(&self, layer: usize, width: usize, height: usize, mut rng: Rng) -> Scratch {
        let kernel = Kernel::line((self.blur * SPEEDS[layer]).max(1.0), self.angle);
        let [rx, ry] = kernel.reach;
        let (w, h) = (width + 2 * rx, height + 2 * ry);
        let mut cover = Scratch::zeros(w * h);
        let count = (self.flakes[layer] * (w * h) as f64 / 65536.0).round() as usize;
        for _ in 0..count {
            Flake::draw(rng.range(self.radius[layer]), w, h, &mut rng).splat(&mut cover, w, h);
        }
        if layer == 2 {
            let [least, greatest] = self.radius[layer];
            gaussian(&mut cover, w, h, 0.125 * (least + greatest));
        }
        let mut moved = Scratch::zeros(width * height);
        kernel.filter_padded(&cover, width, height, &mut moved);
        moved
    }
}

/// An irregular round clump: a disc whose radius varies with direction, densest at its centre.
struct Flake {
    centre: [f64; 2],
    radius: f64,
    /// Amplitudes of the cosine and the sine of the outline's second and third harmonics.
    outline: [[f32; 2]; 2],
}

impl Flake {
    fn draw(radius: f64, width: usize, height: usize, rng: &mut Rng) -> Self {
        let centre = [rng.range([0.0, width as f64]), rng.range([0.0, height as f64])];
        let mut harmonic = |most: f64| {
            let (amplitude, phase) = (rng.range([0.0, most]), rng.range([0.0, std::f64::consts::TAU]));
            [amplitude * phase.cos(), amplitude * phase.sin()].map(|v| v as f32)
        };
        Self { centre, radius, outline: [harmonic(0.25), harmonic(0.15)] }
    }

    fn splat(&self, cover: &mut [f32], width: usize, height: usize) {
        let reach = 1.4 * self.radius + 1.0;
        let span = |c: f64, n: usize| (c - reach).max(0.0) as usize..((c + reach).ceil() as usize + 1).min(n);
        let radius = self.radius as f32;
        // Flakes below a pixel cover part of it.
        let full = (2.0 * radius).min(1.0);
        let [[p2, q2], [p3, q3]] = self.outline;
        let (cx, cy) = (self.centre[0] as f32, self.centre[1] as f32);
        let columns = span(self.centre[0], width);
        for y in span(self.centre[1], height) {
            let dy = y as f32 - cy;
            for (x, pixel) in columns.clone().zip(&mut cover[y * width..][columns.clone()]) {
                let dx = x as f32 - cx;
                let distance = (dx * dx + dy * dy).sqrt();
                // Cosine and sine of the direction, of its double and of its triple.
                let (c, s) = (dx / distance.max(1e-6), dy / distance.max(1e-6));
                let (c2, s2) = (c * c - s * s, 2.0 * c * s);
                let (c3, s3) = (c2 * c - s2 * s, s2 * c + c2 * s);
                let wobble = (p2 * c2 - q2 * s2) + (p3 * c3 - q3 * s3);
                let inside = radius * (1.0 + wobble) - distance;
                // An edge of one pixel, and a body that thickens inwards over half the radius.
                let body = (0.55 + 0.9 * inside / radius).clamp(0.0, 1.0);
                let m = full * body * (inside + 0.5).clamp(0.0, 1.0);
                *pixel = pixel.max(m);
            }
        }
    }
}
