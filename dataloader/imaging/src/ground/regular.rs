//! Regular and concentric textures, of random phase, polarity and contrast.

use std::f64::consts::{PI, TAU};

use crate::{Image, Rng};

/// Random polarity and contrast of a black and white pattern.
struct Style {
    gain: f64,
}

impl Style {
    fn draw(rng: &mut Rng) -> Self {
        let contrast = rng.range([0.3, 1.0]);
        Self { gain: if rng.chance(0.5) { contrast } else { -contrast } }
    }

    /// Paints `pattern(x, y)` in [0, 1], about middle grey.
    fn paint(&self, side: usize, pattern: impl Fn(f64, f64) -> f64) -> Image {
        let plane: Vec<f32> = (0..side * side)
            .map(|i| (0.5 + self.gain * (pattern((i % side) as f64, (i / side) as f64) - 0.5)) as f32)
            .collect();
        grey(side, &plane)
    }
}

/// The same plane in all channels.
pub(super) fn grey(side: usize, plane: &[f32]) -> Image {
    let mut image = Image::filled(side, side, 0.0);
    image.data_mut().chunks_exact_mut(plane.len().max(1)).for_each(|to| to.copy_from_slice(plane));
    image
}

/// A wave in [0, 1]: a cosine, or bars whose edges take one pixel.
#[derive(Clone, Copy)]
enum Wave {
    Cosine,
    Bars,
}

impl Wave {
    fn draw(rng: &mut Rng) -> Self {
        if rng.chance(0.5) { Self::Cosine } else { Self::Bars }
    }

    /// Value at `phase` radians of a wave whose period is `period` pixels long.
    fn at(self, phase: f64, period: f64) -> f64 {
        match self {
            Self::Cosine => 0.5 + 0.5 * phase.cos(),
            // The cosine crosses zero with a slope of 2 pi / period per pixel.
            Self::Bars => (0.5 + phase.cos() * period / TAU).clamp(0.0, 1.0),
        }
    }
}

/// Uniform in the logarithm, so that no scale is favoured.
fn log_range(rng: &mut Rng, [low, high]: [f64; 2]) -> f64 {
    low * (high / low).powf(rng.f64())
}

/// A point near the middle.
fn centre(side: usize, rng: &mut Rng) -> [f64; 2] {
    let middle = (side as f64 - 1.0) / 2.0;
    [0, 1].map(|_| middle + side as f64 * rng.range([-0.125, 0.125]))
}

/// `0.5 + 0.5 cos(n phi)`, 12 to 72 spokes; grey within the radius where a spoke and its gap take two pixels.
pub(super) fn siemens_star(side: usize, rng: &mut Rng) -> Image {
    let (style, centre) = (Style::draw(rng), centre(side, rng));
    let spokes = 12 + rng.below(61);
    style.paint(side, star(centre, spokes as f64, rng.range([0.0, TAU])))
}

fn star([cx, cy]: [f64; 2], spokes: f64, phase: f64) -> impl Fn(f64, f64) -> f64 {
    move |x, y| {
        let (dx, dy) = (x - cx, y - cy);
        if dx.hypot(dy) < spokes / PI { 0.5 } else { 0.5 + 0.5 * (spokes * dy.atan2(dx) + phase).cos() }
    }
}

/// `0.5 + 0.5 cos(k r^2)`; its frequency, `k r / pi` cycles per pixel, reaches at most one half in the farthest corner.
pub(super) fn zone_plate(side: usize, rng: &mut Rng) -> Image {
    let (style, centre) = (Style::draw(rng), centre(side, rng));
    let k = zone_limit(side, centre) * rng.range([0.3, 1.0]);
    style.paint(side, zones(centre, k, rng.range([0.0, TAU])))
}

/// The largest k that pixels can show: `pi / (2 r_max)`.
fn zone_limit(side: usize, [cx, cy]: [f64; 2]) -> f64 {
    let far = |c: f64| c.max(side as f64 - 1.0 - c);
    PI / (2.0 * far(cx).hypot(far(cy)).max(1.0))
}

fn zones([cx, cy]: [f64; 2], k: f64, phase: f64) -> impl Fn(f64, f64) -> f64 {
    move |x, y| 0.5 + 0.5 * (k * ((x - cx).powi(2) + (y - cy).powi(2)) + phase).cos()
}

/// Concentric rings of period 3 to 32 pixels.
pub(super) fn rings(side: usize, rng: &mut Rng) -> Image {
    let (style, wave, [cx, cy]) = (Style::draw(rng), Wave::draw(rng), centre(side, rng));
    let period = log_range(rng, [3.0, 32.0]);
    let phase = rng.range([0.0, TAU]);
    style.paint(side, |x, y| wave.at(TAU * (x - cx).hypot(y - cy) / period + phase, period))
}

/// Parallel lines of period 2 to 32 pixels, in any direction.
pub(super) fn grating(side: usize, rng: &mut Rng) -> Image {
    let (style, wave) = (Style::draw(rng), Wave::draw(rng));
    let period = log_range(rng, [2.0, 32.0]);
    let phase = rng.range([0.0, TAU]);
    let (sin, cos) = rng.range([0.0, PI]).sin_cos();
    style.paint(side, |x, y| wave.at(TAU * (x * cos + y * sin) / period + phase, period))
}

/// A checkerboard of period 2 to 32 pixels: whole squares along the pixel grid, or turned.
pub(super) fn checkers(side: usize, rng: &mut Rng) -> Image {
    let style = Style::draw(rng);
    if rng.chance(0.5) {
        let square = log_range(rng, [1.0, 16.99]) as u64;
        let [px, py] = [0, 1].map(|_| rng.below(2 * square));
        return style.paint(side, |x, y| (((x as u64 + px) / square + (y as u64 + py) / square) % 2) as f64);
    }
    let period = log_range(rng, [4.0, 32.0]);
    let [px, py] = [0, 1].map(|_| rng.range([0.0, TAU]));
    let (sin, cos) = rng.range([0.0, PI / 2.0]).sin_cos();
    style.paint(side, |x, y| {
        let bars = |at: f64, phase: f64| 2.0 * Wave::Bars.at(TAU * at / period + phase, period) - 1.0;
        0.5 + 0.5 * bars(x * cos + y * sin, px) * bars(y * cos - x * sin, py)
    })
}

/// A square turned by five degrees, as for measuring sharpness (ISO 12233); edges take one pixel.
pub(super) fn slanted_edges(side: usize, rng: &mut Rng) -> Image {
    let (style, [cx, cy]) = (Style::draw(rng), centre(side, rng));
    let half = side as f64 * rng.range([0.2, 0.35]);
    let angle: f64 = if rng.chance(0.5) { 5.0 } else { -5.0 };
    let (sin, cos) = angle.to_radians().sin_cos();
    style.paint(side, |x, y| {
        let (dx, dy) = (x - cx, y - cy);
        let outside = (dx * cos + dy * sin).abs().max((dy * cos - dx * sin).abs()) - half;
        (outside + 0.5).clamp(0.0, 1.0)
    })
}

/// Five lines that converge on their way across the tile, from a period of 16 to 24 pixels (side 128) down to one of
/// 2.5 to 4, on white.
pub(super) fn wedge(side: usize, rng: &mut Rng) -> Image {
    const LINES: f64 = 5.0;
    let style = Style::draw(rng);
    let wide = side as f64 * rng.range([0.125, 0.18]);
    let narrow = rng.range([2.5, 4.0]).min(wide);
    let middle = (side as f64 - 1.0) / 2.0;
    let turn = rng.below(4);
    style.paint(side, |x, y| {
        let (along, across) = match turn {
            0 => (y, x),
            1 => (side as f64 - 1.0 - y, x),
            2 => (x, y),
            _ => (side as f64 - 1.0 - x, y),
        };
        let period = wide + (narrow - wide) * along / (side as f64 - 1.0).max(1.0);
        let at = (across - middle) / period;
        // Dark at whole multiples of the period; nothing beside the outermost lines.
        if at.abs() > LINES / 2.0 { 1.0 } else { 0.5 - 0.5 * (TAU * at).cos() }
    })
}

#[cfg(test)]
mod tests;
