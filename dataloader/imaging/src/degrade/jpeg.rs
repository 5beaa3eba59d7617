//! JPEG at 4:2:0 with the IJG tables. Entropy coding loses nothing, so the pixels need only what loses: colour
//! conversion, chroma averaging, the quantised transform, and libjpeg's "fancy" chroma interpolation. Every step is
//! libjpeg's integer arithmetic, so pixels equal those that libjpeg(-turbo) writes and reads at this quality.

use super::Setting;
use super::dct::{self, Block};
use crate::{Image, Rng};

/// JPEG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jpeg {
    /// Quality, 1 to 100.
    pub quality: u8,
}

/// ITU-T T.81, tables K.1 and K.2, row-major.
#[rustfmt::skip]
const LUMINANCE: [u8; 64] = [
    16, 11, 10, 16, 24, 40, 51, 61,
    12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77,
    24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
];
#[rustfmt::skip]
const CHROMINANCE: [u8; 64] = [
    17, 18, 24, 47, 99, 99, 99, 99,
    18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
];

impl Jpeg {
    pub(super) fn draw(setting: &Setting, rng: &mut Rng) -> Self {
        let range = &setting.synthesis.jpeg;
        let [low, high] = setting.severity.falling(range.quality);
        // Severity is a third of the whole range of quality; the common steps within it stay the more frequent ones.
        let steps: Vec<u8> = range.steps.iter().copied().filter(|q| (low..=high).contains(&f64::from(*q))).collect();
        let quality = if !steps.is_empty() && rng.chance(range.step_share) {
            steps[rng.below(steps.len() as u64) as usize]
        } else {
            rng.range([low.round(), high.round() + 1.0]).floor().min(high.round()) as u8
        };
        Self { quality: quality.clamp(1, 100) }
    }

    pub(super) fn render(&self, image: &mut Image) {
        let (width, height) = (image.width(), image.height());
        let [mut y, cb, cr] = encode_colour(&image.to_rgb8(), width, height);
        Quantizer::new(&LUMINANCE, self.quality).round_trip(&mut y);
        let coarse = Quantizer::new(&CHROMINANCE, self.quality);
        let [cb, cr] = [cb, cr].map(|full| {
            let mut half = full.halved();
            coarse.round_trip(&mut half);
            half.doubled(width, height)
        });
        decode_colour(&y, &cb, &cr, image);
    }
}

/// One component. Rows and columns beyond the image fill the last blocks.
struct Component {
    /// Pixels that count.
    width: usize,
    height: usize,
    /// Stored pixels across; a multiple of 8 but for interpolated chroma.
    stride: usize,
    samples: Vec<u8>,
}

impl Component {
    fn new(width: usize, height: usize) -> Self {
        let stride = width.next_multiple_of(8);
        Self { width, height, stride, samples: vec![0; stride * height.next_multiple_of(8)] }
    }

    /// Repeats the last pixel of each row and then the last row into the margin.
    fn extend_edges(&mut self) {
        for row in self.samples.chunks_exact_mut(self.stride).take(self.height) {
            let last = row[self.width - 1];
            row[self.width..].fill(last);
        }
        let (inside, below) = self.samples.split_at_mut(self.stride * self.height);
        let last = &inside[self.stride * (self.height - 1)..];
        below.chunks_exact_mut(self.stride).for_each(|row| row.copy_from_slice(last));
    }

    /// Mean of 2 x 2 pixels, rounded up and down by turns (`jcsample.c`, h2v2_downsample).
    fn halved(&self) -> Self {
        let mut half = Self::new(self.width.div_ceil(2), self.height.div_ceil(2));
        let at =
            |x: usize, y: usize| u32::from(self.samples[y.min(self.height - 1) * self.stride + x.min(self.width - 1)]);
        for (y, row) in half.samples.chunks_exact_mut(half.stride).enumerate().take(half.height) {
            for (x, out) in row.iter_mut().enumerate() {
                let sum = at(2 * x, 2 * y) + at(2 * x + 1, 2 * y) + at(2 * x, 2 * y + 1) + at(2 * x + 1, 2 * y + 1);
                *out = ((sum + 1 + (x as u32 & 1)) >> 2) as u8;
            }
        }
        // Rows are already filled to the stride.
        half.width = half.stride;
        half.extend_edges();
        half.width = self.width.div_ceil(2);
        half
    }

    /// Twice the size: each pixel takes 3/4 of the nearest and 1/4 of the next on each axis (`jdsample.c`,
    /// h2v2_fancy_upsample), or, if less than three pixels lie across, the nearest (h2v2_upsample).
    fn doubled(&self, width: usize, height: usize) -> Self {
        let mut samples = vec![0; width * height];
        let smooth = self.width > 2;
        let mut sums = vec![0u32; self.width];
        for (y, out) in samples.chunks_exact_mut(width).enumerate() {
            let near = &self.samples[y / 2 * self.stride..][..self.width];
            if !smooth {
                out.iter_mut().enumerate().for_each(|(x, v)| *v = near[x / 2]);
                continue;
            }
            let other = if y % 2 == 0 { (y / 2).saturating_sub(1) } else { (y / 2 + 1).min(self.height - 1) };
            let far = &self.samples[other * self.stride..][..self.width];
            for ((sum, near), far) in sums.iter_mut().zip(near).zip(far) {
                *sum = 3 * u32::from(*near) + u32::from(*far);
            }
            let last = self.width - 1;
            for (i, pair) in out.chunks_mut(2).enumerate() {
                pair[0] = ((3 * sums[i] + sums[i.saturating_sub(1)] + 8) >> 4) as u8;
                if let Some(right) = pair.get_mut(1) {
                    *right = ((3 * sums[i] + sums[(i + 1).min(last)] + 7) >> 4) as u8;
                }
            }
        }
        Self { width, height, stride: width, samples }
    }
}

/// Quantisation steps of one component at one quality.
struct Quantizer {
    /// The step.
    steps: [i32; 64],
    /// ceil(2^32 / (8 step)): dividing by the transform's scale and the step at once.
    reciprocals: [u64; 64],
}

impl Quantizer {
    /// `jpeg_set_quality` with `force_baseline`.
    fn new(table: &[u8; 64], quality: u8) -> Self {
        let quality = i32::from(quality);
        let scale = if quality < 50 { 5000 / quality } else { 200 - 2 * quality };
        let steps = table.map(|base| ((i32::from(base) * scale + 50) / 100).clamp(1, 255));
        Self { steps, reciprocals: steps.map(|step| (1u64 << 32).div_ceil(8 * step as u64)) }
    }

    /// The nearest multiple of the step to a coefficient scaled by 8, halves away from zero. The product is exact: the
    /// magnitude is below 2^17 and eight steps below 2^11, so the reciprocal's excess stays below one.
    fn round(&self, i: usize, coefficient: i32) -> i32 {
        let magnitude = u64::from(coefficient.unsigned_abs()) + 4 * self.steps[i] as u64;
        let level = ((magnitude * self.reciprocals[i]) >> 32) as i32;
        level * self.steps[i] * coefficient.signum()
    }

    fn round_trip(&self, component: &mut Component) {
        let stride = component.stride;
        let mut block: Block = [0; 64];
        for band in component.samples.chunks_exact_mut(8 * stride) {
            for x in (0..stride).step_by(8) {
                for (row, samples) in block.chunks_exact_mut(8).zip(band.chunks_exact(stride)) {
                    row.iter_mut().zip(&samples[x..x + 8]).for_each(|(v, s)| *v = i32::from(*s) - 128);
                }
                dct::forward(&mut block);
                for (i, v) in block.iter_mut().enumerate() {
                    *v = self.round(i, *v);
                }
                dct::inverse(&mut block);
                for (row, samples) in block.chunks_exact(8).zip(band.chunks_exact_mut(stride)) {
                    row.iter().zip(&mut samples[x..x + 8]).for_each(|(v, s)| *s = (v + 128).clamp(0, 255) as u8);
                }
            }
        }
    }
}

/// 16-bit fixed point.
const fn fix(x: f64) -> i32 {
    (x * 65536.0 + 0.5) as i32
}

const HALF: i32 = 1 << 15;

/// RGB to Y, Cb, Cr (`jccolor.c`).
fn encode_colour(rgb: &[u8], width: usize, height: usize) -> [Component; 3] {
    let mut components = [(); 3].map(|()| Component::new(width, height));
    let stride = components[0].stride;
    let [y, cb, cr] = components.each_mut().map(|c| &mut c.samples);
    for (row, line) in rgb.chunks_exact(3 * width).enumerate() {
        let start = row * stride;
        let (y, cb, cr) = (&mut y[start..][..width], &mut cb[start..][..width], &mut cr[start..][..width]);
        for (((px, y), cb), cr) in line.as_chunks::<3>().0.iter().zip(y).zip(cb).zip(cr) {
            let [r, g, b] = px.map(i32::from);
            let offset = (128 << 16) + HALF - 1;
            *y = ((fix(0.29900) * r + fix(0.58700) * g + fix(0.11400) * b + HALF) >> 16) as u8;
            *cb = ((-fix(0.16874) * r - fix(0.33126) * g + fix(0.5) * b + offset) >> 16) as u8;
            *cr = ((fix(0.5) * r - fix(0.41869) * g - fix(0.08131) * b + offset) >> 16) as u8;
        }
    }
    components.iter_mut().for_each(Component::extend_edges);
    components
}

/// Y, Cb, Cr to RGB (`jdcolor.c`).
fn decode_colour(y: &Component, cb: &Component, cr: &Component, image: &mut Image) {
    let width = y.width;
    let n = width * y.height;
    let (red, rest) = image.data_mut().split_at_mut(n);
    let (green, blue) = rest.split_at_mut(n);
    for row in 0..y.height {
        let y = &y.samples[row * y.stride..][..width];
        let (cb, cr) = (&cb.samples[row * width..][..width], &cr.samples[row * width..][..width]);
        let [red, green, blue] = [&mut *red, &mut *green, &mut *blue].map(|plane| &mut plane[row * width..][..width]);
        let level = |v: i32| v.clamp(0, 255) as f32 / 255.0;
        for x in 0..width {
            let (y, cb, cr) = (i32::from(y[x]), i32::from(cb[x]) - 128, i32::from(cr[x]) - 128);
            red[x] = level(y + ((fix(1.40200) * cr + HALF) >> 16));
            green[x] = level(y + ((-fix(0.34414) * cb - fix(0.71414) * cr + HALF) >> 16));
            blue[x] = level(y + ((fix(1.77200) * cb + HALF) >> 16));
        }
    }
}
