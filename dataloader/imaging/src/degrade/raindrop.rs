//! Drops on a pane before the lens: `(1 - M) x + M refract(x)`, after Qian et al., "Attentive GAN for Raindrop
//! Removal" (2018). A drop is a strong lens: it shows a wide view of the scene, upside down and out of focus.

use super::Setting;
use super::kernel::gaussian;
use super::scratch::Scratch;
use crate::{Image, Rng};

/// Drops.
#[derive(Clone, Debug, PartialEq)]
pub struct Raindrop {
    /// Drops on a 256 x 256 square.
    pub count: f64,
    /// Least and greatest radius, pixels.
    pub radius: [f64; 2],
    /// Standard deviation of the blur of what a drop shows, pixels.
    pub blur: f64,
    /// Width of a drop's soft edge, pixels.
    pub feather: f64,
    /// How many radii of the scene a drop's radius shows.
    pub view: f64,
    /// Direction of the highlights from a drop's centre, degrees.
    pub light: f64,
}

/// A ball's field ends at this many radii; the outline lies where the fields sum to what one ball has at its radius.
const FIELD: f32 = 1.6;
const OUTLINE: f32 = (1.0 - 1.0 / (FIELD * FIELD)) * (1.0 - 1.0 / (FIELD * FIELD));

impl Raindrop {
    pub(super) fn draw(setting: &Setting, rng: &mut Rng) -> Self {
        let (range, severity, scale) = (&setting.synthesis.raindrop, setting.severity, setting.length_scale);
        let largest = rng.range(severity.rising(range.radius));
        Self {
            // On a smaller canvas drops shrink and get more, so that they cover the same share of it.
            count: rng.range(severity.rising(range.count)) / scale.powi(2),
            radius: [range.radius[0], largest].map(|r| (r * scale).max(1.0)),
            blur: rng.range(range.blur) * scale,
            feather: rng.range(range.feather) * scale.max(0.5),
            view: rng.range(range.view),
            light: rng.range([200.0, 340.0]),
        }
    }

    pub(super) fn render(&self, image: &mut Image, mut rng: Rng) {
        let (width, height) = (image.width(), image.height());
        let count = (self.count * (width * height) as f64 / 65536.0).round() as usize;
        let mut pane = Pane::new(width, height);
        for _ in 0..count {
            self.add_drop(&mut pane, &mut rng);
        }
        let behind = behind(image, self.blur);
        let (sin, cos) = self.light.to_radians().sin_cos();
        let light = [cos as f32, sin as f32];
        for y in 0..height {
            for x in 0..width {
                let Some(drop) = pane.at(x, y, self.feather as f32) else { continue };
                // Position within the drop: 1 at its rim. The view widens towards the rim, as in a fisheye.
                let [u, v] = drop.position;
                let out = (u * u + v * v).min(2.0);
                let lens = -(self.view as f32) * drop.radius * (0.6 + 0.4 * out);
                let source = [drop.centre[0] + lens * u, drop.centre[1] + lens * v];
                // Less light comes through the rim; the lamp or sky glints opposite to it.
                let shade = 1.0 - 0.35 * (out * out * out).min(1.0);
                let (hu, hv) = (u - 0.5 * light[0], v - 0.5 * light[1]);
                let glint = 0.35 * (-(hu * hu + hv * hv) / 0.015).exp();
                let seen = Between::new(source, width, height);
                let planes = image.data_mut().chunks_exact_mut(width * height);
                for (plane, behind) in planes.zip(behind.chunks_exact(width * height)) {
                    let pixel = &mut plane[y * width + x];
                    *pixel += drop.cover * (seen.of(behind) * shade + glint - *pixel);
                }
            }
        }
    }

    /// A main ball and up to three smaller ones that bulge from it.
    fn add_drop(&self, pane: &mut Pane, rng: &mut Rng) {
        // Small drops are the more frequent ones: radius falls as a power of a uniform number.
        let [least, greatest] = self.radius;
        let radius = least + (greatest.max(least) - least) * rng.f64().powf(1.8);
        let centre = [rng.range([0.0, pane.width as f64]), rng.range([0.0, pane.height as f64])];
        let drop = [centre[0] as f32, centre[1] as f32, radius as f32];
        pane.add(centre, radius, drop);
        for _ in 0..rng.below(4) {
            let (sin, cos) = rng.range([0.0, std::f64::consts::TAU]).sin_cos();
            let away = radius * rng.range([0.4, 0.9]);
            // Drops hang: they bulge downwards more than sideways.
            let bulge = [centre[0] + away * cos * 0.7, centre[1] + away * sin + 0.15 * radius];
            pane.add(bulge, radius * rng.range([0.4, 0.75]), drop);
        }
    }
}

/// The field of all drops, per pixel.
struct Pane {
    width: usize,
    height: usize,
    field: Scratch,
    /// The field's slope across and down.
    slope: [Scratch; 2],
    /// Sums, weighted by field, of the drop's centre across and down and its radius.
    owner: [Scratch; 3],
}

/// One pixel of a drop.
struct Within {
    cover: f32,
    centre: [f32; 2],
    radius: f32,
    position: [f32; 2],
}

impl Pane {
    fn new(width: usize, height: usize) -> Self {
        let zeros = |()| Scratch::zeros(width * height);
        Self { width, height, field: zeros(()), slope: [(); 2].map(zeros), owner: [(); 3].map(zeros) }
    }

    fn add(&mut self, [cx, cy]: [f64; 2], radius: f64, drop: [f32; 3]) {
        let end = f64::from(FIELD) * radius;
        let span = |c: f64, n: usize| (c - end).max(0.0) as usize..((c + end).max(0.0).ceil() as usize).min(n);
        let scale = 1.0 / (end * end) as f32;
        for y in span(cy, self.height) {
            for x in span(cx, self.width) {
                let (dx, dy) = (x as f32 - cx as f32, y as f32 - cy as f32);
                let q = 1.0 - (dx * dx + dy * dy) * scale;
                if q <= 0.0 {
                    continue;
                }
                let i = y * self.width + x;
                self.field[i] += q * q;
                self.slope[0][i] -= 4.0 * q * dx * scale;
                self.slope[1][i] -= 4.0 * q * dy * scale;
                for (sum, v) in self.owner.iter_mut().zip(drop) {
                    sum[i] += q * q * v;
                }
            }
        }
    }

    fn at(&self, x: usize, y: usize, feather: f32) -> Option<Within> {
        let i = y * self.width + x;
        let field = self.field[i];
        if field <= 0.0 {
            return None;
        }
        let slope = (self.slope[0][i].powi(2) + self.slope[1][i].powi(2)).sqrt().max(1e-4);
        let cover = ((field - OUTLINE) / (slope * feather) + 0.5).clamp(0.0, 1.0);
        if cover <= 0.0 {
            return None;
        }
        let [cx, cy, radius] = self.owner.each_ref().map(|sum| sum[i] / field);
        let position = [(x as f32 - cx) / radius, (y as f32 - cy) / radius];
        Some(Within { cover, centre: [cx, cy], radius, position })
    }
}

/// The scene as a drop shows it.
fn behind(image: &Image, blur: f64) -> Scratch {
    let (width, height) = (image.width(), image.height());
    let mut behind = Scratch::empty(image.data().len());
    behind.vec().extend_from_slice(image.data());
    for plane in behind.chunks_exact_mut(width * height) {
        gaussian(plane, width, height, blur);
    }
    behind
}

/// A place between four pixels.
struct Between {
    pixels: [usize; 4],
    across: f32,
    down: f32,
}

impl Between {
    /// The place (x, y), mirrored at the borders.
    fn new([x, y]: [f32; 2], width: usize, height: usize) -> Self {
        let mirror = |v: f32, n: usize| {
            let last = (n - 1) as f32;
            let period = (2.0 * last).max(1.0);
            // `rem_euclid`, which is a call.
            let v = v - period * ((v / period) as i32 - i32::from(v < 0.0)) as f32;
            (if v > last { 2.0 * last - v } else { v }).clamp(0.0, last)
        };
        let (x, y) = (mirror(x, width), mirror(y, height));
        let (i, j) = (x as usize, y as usize);
        let (right, below) = ((i + 1).min(width - 1), (j + 1).min(height - 1));
        Self {
            pixels: [j * width + i, j * width + right, below * width + i, below * width + right],
            across: x - i as f32,
            down: y - j as f32,
        }
    }

    /// The value there, by linear interpolation.
    fn of(&self, plane: &[f32]) -> f32 {
        let [a, b, c, d] = self.pixels.map(|i| plane[i]);
        let (top, bottom) = (a + self.across * (b - a), c + self.across * (d - c));
        top + self.down * (bottom - top)
    }
}
