//! Convolution with small kernels: sparse taps, long runs by running sums, Gaussians by separation.

use super::scratch::Scratch;

struct Tap {
    dx: isize,
    dy: isize,
    weight: f32,
}

/// Equal weights at `x0..x1` of one row.
struct Run {
    dy: isize,
    x0: isize,
    x1: isize,
    weight: f32,
}

/// Runs shorter than this are cheaper as taps.
const SHORTEST_RUN: usize = 5;

/// A kernel whose weights sum to one; its value at (dx, dy) weighs the pixel at that offset (a correlation, as OpenCV's
/// `filter2D`).
pub(crate) struct Kernel {
    taps: Vec<Tap>,
    runs: Vec<Run>,
    /// Largest offset across and down.
    pub reach: [usize; 2],
}

impl Kernel {
    /// From weights on the grid `-rx..=rx`, `-ry..=ry`, scaled so that they sum to one. Weights that sum to nothing give
    /// the identity.
    pub fn from_weights([rx, ry]: [usize; 2], weight: impl Fn(isize, isize) -> f64) -> Self {
        let (rx, ry) = (rx as isize, ry as isize);
        let rows: Vec<Vec<f64>> = (-ry..=ry).map(|y| (-rx..=rx).map(|x| weight(x, y)).collect()).collect();
        let sum: f64 = rows.iter().flatten().sum();
        if !(sum > 0.0 && sum.is_finite()) {
            return Self { taps: vec![Tap { dx: 0, dy: 0, weight: 1.0 }], runs: Vec::new(), reach: [0, 0] };
        }
        let (mut taps, mut runs, mut reach) = (Vec::new(), Vec::new(), [0, 0]);
        for (row, dy) in rows.iter().zip(-ry..) {
            let mut start = -rx;
            for equal in row.chunk_by(|a, b| a == b) {
                let (x0, x1) = (start, start + equal.len() as isize);
                start = x1;
                let weight = (equal[0] / sum) as f32;
                if weight == 0.0 {
                    continue;
                }
                reach[0] = reach[0].max(x0.unsigned_abs()).max((x1 - 1).unsigned_abs());
                reach[1] = reach[1].max(dy.unsigned_abs());
                if equal.len() >= SHORTEST_RUN {
                    runs.push(Run { dy, x0, x1, weight });
                } else {
                    taps.extend((x0..x1).map(|dx| Tap { dx, dy, weight }));
                }
            }
        }
        Self { taps, runs, reach }
    }

    /// A straight line of `length` pixels in direction `angle` (degrees, clockwise from the right as rows grow down):
    /// weights fall linearly to zero at 1 px from it, as in MATLAB's `fspecial('motion')`.
    pub fn line(length: f64, angle: f64) -> Self {
        let half = (length.max(1.0) - 1.0) / 2.0;
        let (sin, cos) = angle.to_radians().sin_cos();
        let reach = [cos, sin].map(|c| (half * c.abs()).ceil() as usize + 1);
        Self::from_weights(reach, |x, y| {
            let (x, y) = (x as f64, y as f64);
            let beyond = ((x * cos + y * sin).abs() - half).max(0.0);
            let across = y * cos - x * sin;
            (1.0 - across.hypot(beyond)).max(0.0)
        })
    }

    /// A disc of `radius` whose edge is antialiased.
    pub fn disc(radius: f64) -> Self {
        // Coverage by 8 x 8 points per pixel; pixels well inside are exactly 1, which makes them runs.
        let coverage = |x: isize, y: isize| {
            let distance = (x as f64).hypot(y as f64);
            if distance <= radius - 0.75 {
                return 1.0;
            }
            if distance >= radius + 0.75 {
                return 0.0;
            }
            let at = |i: usize| (i as f64 + 0.5) / 8.0 - 0.5;
            let inside = |i: usize| (x as f64 + at(i % 8)).hypot(y as f64 + at(i / 8)) <= radius;
            (0..64).filter(|i| inside(*i)).count() as f64 / 64.0
        };
        Self::from_weights([radius.ceil() as usize; 2], coverage)
    }

    /// Filters `plane` (`width` x `height`), reflected at the borders without repeating the edge (OpenCV's default).
    pub fn filter(&self, plane: &[f32], width: usize, height: usize, out: &mut [f32]) {
        let padded = pad(plane, width, height, self.reach);
        self.filter_padded(&padded, width, height, out);
    }

    /// As [`Kernel::filter`], of a plane that already has a margin of `reach` on each side.
    pub fn filter_padded(&self, padded: &[f32], width: usize, height: usize, out: &mut [f32]) {
        let [rx, ry] = self.reach;
        let stride = width + 2 * rx;
        let sums = (!self.runs.is_empty()).then(|| running_sums(padded, stride));
        for (y, out) in out.chunks_exact_mut(width).enumerate().take(height) {
            out.fill(0.0);
            let at = |dx: isize, dy: isize| (y + ry).wrapping_add_signed(dy) * stride + rx.wrapping_add_signed(dx);
            let row = |t: &Tap| &padded[at(t.dx, t.dy)..][..width];
            let (fours, rest) = self.taps.as_chunks::<4>();
            for four in fours {
                let [a, b, c, d] = four.each_ref().map(row);
                let [wa, wb, wc, wd] = four.each_ref().map(|t| t.weight);
                for ((((o, a), b), c), d) in out.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                    *o += (wa * a + wb * b) + (wc * c + wd * d);
                }
            }
            for tap in rest {
                for (o, v) in out.iter_mut().zip(row(tap)) {
                    *o += tap.weight * v;
                }
            }
            let Some(sums) = &sums else { continue };
            for run in &self.runs {
                // Each row of sums is one longer than its row of pixels.
                let line = (y + ry).wrapping_add_signed(run.dy) * (stride + 1);
                let low = &sums[line + rx.wrapping_add_signed(run.x0)..][..width];
                let high = &sums[line + rx.wrapping_add_signed(run.x1)..][..width];
                for ((o, low), high) in out.iter_mut().zip(low).zip(high) {
                    *o += run.weight * (high - low);
                }
            }
        }
    }
}

/// Per row, the sum of all values before each position; rows become one longer.
fn running_sums(padded: &[f32], stride: usize) -> Scratch {
    let mut sums = Scratch::empty(padded.len() + padded.len() / stride);
    for row in padded.chunks_exact(stride) {
        let mut sum = 0.0;
        sums.vec().push(sum);
        sums.vec().extend(row.iter().map(|v| {
            sum += v;
            sum
        }));
    }
    sums
}

/// Index `i` of a line of `n` values reflected at both ends without repeating them.
fn reflect(i: isize, n: usize) -> usize {
    let period = (2 * n as isize - 2).max(1);
    let i = i.rem_euclid(period) as usize;
    i.min((period as usize - i) % period as usize).min(n - 1)
}

/// The plane with a reflected margin.
fn pad(plane: &[f32], width: usize, height: usize, [rx, ry]: [usize; 2]) -> Scratch {
    let mut padded = Scratch::empty((width + 2 * rx) * (height + 2 * ry));
    let (rx, ry) = (rx as isize, ry as isize);
    let left: Vec<usize> = (-rx..0).map(|x| reflect(x, width)).collect();
    let right: Vec<usize> = (0..rx).map(|x| reflect(width as isize + x, width)).collect();
    for y in -ry..height as isize + ry {
        let row = &plane[reflect(y, height) * width..][..width];
        padded.vec().extend(left.iter().map(|x| row[*x]));
        padded.vec().extend_from_slice(row);
        padded.vec().extend(right.iter().map(|x| row[*x]));
    }
    padded
}

/// One half of a Gaussian, from its centre on, out to 4 standard deviations; the whole sums to one.
fn gaussian_weights(sigma: f64) -> Vec<f64> {
    // At 0.2 pixels a neighbour's share is below 4e-6.
    if sigma < 0.2 {
        return vec![1.0];
    }
    let half: Vec<f64> =
        (0..=(4.0 * sigma).ceil() as usize).map(|i| (-0.5 * (i as f64 / sigma).powi(2)).exp()).collect();
    let sum = 2.0 * half.iter().sum::<f64>() - half[0];
    half.into_iter().map(|w| w / sum).collect()
}

/// Blurs `plane` in place with a Gaussian of standard deviation `sigma`, reflected at the borders.
pub(crate) fn gaussian(plane: &mut [f32], width: usize, height: usize, sigma: f64) {
    let weights: Vec<f32> = gaussian_weights(sigma).into_iter().map(|w| w as f32).collect();
    let r = weights.len() - 1;
    if r == 0 {
        return;
    }
    // The vertical pass writes into the padded row of the horizontal one: no whole plane in between.
    let padded = pad(plane, width, height, [r, r]);
    let stride = width + 2 * r;
    let mut line = Scratch::zeros(stride);
    for (y, out) in plane.chunks_exact_mut(width).enumerate() {
        let row = |dy: usize| &padded[(y + dy) * stride..][..stride];
        line.iter_mut().zip(row(r)).for_each(|(o, v)| *o = weights[0] * v);
        for (i, w) in weights.iter().enumerate().skip(1) {
            for ((o, a), b) in line.iter_mut().zip(row(r - i)).zip(row(r + i)) {
                *o += w * (a + b);
            }
        }
        out.iter_mut().zip(&line[r..]).for_each(|(o, v)| *o = weights[0] * v);
        for (i, w) in weights.iter().enumerate().skip(1) {
            for ((o, a), b) in out.iter_mut().zip(&line[r - i..]).zip(&line[r + i..]) {
                *o += w * (a + b);
            }
        }
    }
}

/// Mean over squares of side `2 radius + 1`, by running sums, reflected at the borders, in place.
pub(crate) fn box_mean(plane: &mut [f32], width: usize, height: usize, radius: usize) {
    let side = 2 * radius + 1;
    let scale = 1.0 / (side * side) as f32;
    let padded = pad(plane, width, height, [radius; 2]);
    let stride = width + 2 * radius;
    let mut column = Scratch::zeros(stride);
    for row in padded.chunks_exact(stride).take(side - 1) {
        column.iter_mut().zip(row).for_each(|(c, v)| *c += v);
    }
    for (y, out) in plane.chunks_exact_mut(width).enumerate() {
        let newest = &padded[(y + side - 1) * stride..][..stride];
        column.iter_mut().zip(newest).for_each(|(c, v)| *c += v);
        let mut sum: f32 = column[..side].iter().sum();
        // What enters and what leaves meet first: the sum waits for one addition a pixel.
        let (first, rest) = out.split_at_mut(1);
        first[0] = sum * scale;
        for ((o, enter), leave) in rest.iter_mut().zip(&column[side..]).zip(&column[..]) {
            sum += enter - leave;
            *o = sum * scale;
        }
        let oldest = &padded[y * stride..][..stride];
        column.iter_mut().zip(oldest).for_each(|(c, v)| *c -= v);
    }
}
