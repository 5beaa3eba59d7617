//! The three blurs. Each keeps the mean of what lies away from the borders.

use super::kernel::{Kernel, gaussian};
use super::scratch::Scratch;
use super::{Setting, Subject, light};
use crate::{Image, Rng};

/// Gaussian blur of sRGB values (as Real-ESRGAN and imagecorruptions).
#[derive(Clone, Debug, PartialEq)]
pub struct GaussianBlur {
    /// Standard deviation, pixels.
    pub sigma: f64,
}

impl GaussianBlur {
    pub(super) fn draw(setting: &Setting, rng: &mut Rng) -> Self {
        let range = setting.severity.rising(setting.synthesis.gaussian_blur.sigma);
        let sigma = rng.range(range) * setting.length_scale;
        // Below about half a pixel nothing changes; an instruction must show something.
        let least = if setting.subject == Subject::Ground { 0.5 } else { 0.0 };
        Self { sigma: sigma.max(least) }
    }

    pub(super) fn render(&self, image: &mut Image) {
        let (width, height) = (image.width(), image.height());
        for plane in image.data_mut().chunks_exact_mut(width * height) {
            gaussian(plane, width, height, self.sigma);
        }
    }
}

/// Defocus: a disc over sRGB values, softened by a small Gaussian (as imagecorruptions' `disk`).
#[derive(Clone, Debug, PartialEq)]
pub struct DefocusBlur {
    /// Radius of the disc, pixels.
    pub radius: f64,
    /// Standard deviation of the Gaussian, pixels.
    pub softness: f64,
}

impl DefocusBlur {
    pub(super) fn draw(setting: &Setting, rng: &mut Rng) -> Self {
        let range = &setting.synthesis.defocus_blur;
        Self {
            radius: rng.range(setting.severity.rising(range.radius)) * setting.length_scale,
            softness: rng.range(range.softness),
        }
    }

    pub(super) fn render(&self, image: &mut Image) {
        filter(image, &Kernel::disc(self.radius));
        // An image reflected at its borders stays so under symmetric kernels: one after the other is as both at once.
        let (width, height) = (image.width(), image.height());
        for plane in image.data_mut().chunks_exact_mut(width * height) {
            gaussian(plane, width, height, self.softness);
        }
    }
}

/// The path of a motion blur.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Path {
    /// Straight, in this direction, degrees.
    Line {
        /// Degrees clockwise from the right.
        angle: f64,
    },
    /// A shaken hand: a smooth random walk drawn from the operation's seed.
    Trajectory,
}

/// Motion blur: the mean over a path, in linear light.
#[derive(Clone, Debug, PartialEq)]
pub struct MotionBlur {
    /// Length of the path, pixels.
    pub length: f64,
    /// Its form.
    pub path: Path,
}

impl MotionBlur {
    pub(super) fn draw(setting: &Setting, rng: &mut Rng) -> Self {
        let range = &setting.synthesis.motion_blur;
        let length = rng.range(setting.severity.rising(range.length)) * setting.length_scale;
        let angle = rng.range([0.0, 360.0]);
        let path = if rng.chance(range.trajectory) { Path::Trajectory } else { Path::Line { angle } };
        Self { length, path }
    }

    pub(super) fn render(&self, image: &mut Image, rng: Rng) {
        let kernel = match self.path {
            Path::Line { angle } => Kernel::line(self.length, angle),
            Path::Trajectory => trajectory(self.length, rng),
        };
        light::to_linear(image.data_mut());
        filter(image, &kernel);
        light::to_srgb(image.data_mut());
    }
}

fn filter(image: &mut Image, kernel: &Kernel) {
    let (width, height) = (image.width(), image.height());
    let mut out = Scratch::zeros(width * height);
    for plane in image.data_mut().chunks_exact_mut(width * height) {
        kernel.filter(plane, width, height, &mut out);
        plane.copy_from_slice(&out);
    }
}

/// A path of `length` pixels whose direction turns at random, with inertia; its centre of mass is the origin, so that
/// the image does not shift.
fn trajectory(length: f64, mut rng: Rng) -> Kernel {
    const STEPS: usize = 128;
    let step = length.max(1.0) / STEPS as f64;
    let mut direction = rng.range([0.0, std::f64::consts::TAU]);
    let (mut turn, mut at) = (0.0, [0.0, 0.0]);
    let mut points = [[0.0; 2]; STEPS];
    for point in &mut points {
        *point = at;
        at = [at[0] + step * direction.cos(), at[1] + step * direction.sin()];
        turn = 0.95 * turn + f64::from(rng.normal_pair()[0]) * 0.02;
        direction += turn;
    }
    let centre = [0, 1].map(|axis| points.iter().map(|p| p[axis]).sum::<f64>() / STEPS as f64);
    points.iter_mut().for_each(|p| *p = [p[0] - centre[0], p[1] - centre[1]]);
    let reach = [0, 1].map(|axis| points.iter().map(|p| p[axis].abs().ceil() as usize).max().unwrap_or(0) + 1);
    // Each point falls on its four nearest pixels.
    let width = 2 * reach[0] + 1;
    let mut weights = vec![0.0; width * (2 * reach[1] + 1)];
    for [x, y] in points {
        let (x, y) = (x + reach[0] as f64, y + reach[1] as f64);
        let (i, j, s, t) = (x as usize, y as usize, x.fract(), y.fract());
        weights[j * width + i] += (1.0 - s) * (1.0 - t);
        weights[j * width + i + 1] += s * (1.0 - t);
        weights[(j + 1) * width + i] += (1.0 - s) * t;
        weights[(j + 1) * width + i + 1] += s * t;
    }
    Kernel::from_weights(reach, |x, y| {
        weights[y.wrapping_add_unsigned(reach[1]) as usize * width + x.wrapping_add_unsigned(reach[0]) as usize]
    })
}
