//! Under-exposure by the Retinex model of OneRestore's `syn_low`: with `x = R L`, `x' = R L^gamma` plus noise.

use super::kernel::box_mean;
use super::light::Curve;
use super::scratch::Scratch;
use super::{Setting, Subject, noise};
use crate::{Image, Rng};

/// What is taken for the illumination L.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Illumination {
    /// A smooth map that keeps edges: the brightest channel, filtered under the image's own guidance. Side of the
    /// filter's squares: `2 radius + 1` pixels.
    Smooth {
        /// Pixels.
        radius: usize,
    },
    /// Each value itself, so that `x' = x^gamma`: a flat chart has no shading.
    Own,
}

/// Low light.
#[derive(Clone, Debug, PartialEq)]
pub struct LowLight {
    /// Exponent of the illumination.
    pub gamma: f64,
    /// Standard deviation of the noise, in [0, 1].
    pub noise: f64,
    /// The illumination.
    pub illumination: Illumination,
}

/// Regularisation of the guided filter, as in OneRestore.
const EPS: f32 = 0.01;

impl LowLight {
    pub(super) fn draw(setting: &Setting, rng: &mut Rng) -> Self {
        let (range, severity) = (&setting.synthesis.low_light, setting.severity);
        Self {
            gamma: rng.range(severity.rising(range.gamma)),
            noise: rng.range(severity.rising(range.noise)),
            illumination: match setting.subject {
                Subject::Photograph => Illumination::Smooth { radius: (7.0 * setting.length_scale).round() as usize },
                Subject::Ground => Illumination::Own,
            },
        }
    }

    pub(super) fn render(&self, image: &mut Image, rng: Rng) {
        match self.illumination {
            Illumination::Own => {
                let curve = Curve::new(|x| x.powf(self.gamma));
                image.data_mut().iter_mut().for_each(|v| *v = curve.at(*v));
            }
            Illumination::Smooth { radius } => {
                // R L^gamma = x L^(gamma - 1): no division by a dark L.
                let light = illumination(image, radius);
                let curve = Curve::new(|l| l.powf(self.gamma - 1.0));
                for plane in image.data_mut().chunks_exact_mut(light.len()) {
                    plane.iter_mut().zip(&*light).for_each(|(v, l)| *v *= curve.at(*l));
                }
            }
        }
        noise::add(image, self.noise as f32, false, rng);
    }
}

/// The brightest channel through a guided filter (He, Sun and Tang, 2010) whose guide is the grey image.
fn illumination(image: &Image, radius: usize) -> Scratch {
    let (width, height) = (image.width(), image.height());
    let n = width * height;
    let [mut guide, mut input, mut square, mut product] = [(); 4].map(|()| Scratch::empty(n));
    for ((r, g), b) in image.plane(0).iter().zip(image.plane(1)).zip(image.plane(2)) {
        let grey = 0.299 * r + 0.587 * g + 0.114 * b;
        let brightest = r.max(*g).max(*b);
        guide.vec().push(grey);
        input.vec().push(brightest);
        square.vec().push(grey * grey);
        product.vec().push(grey * brightest);
    }
    let mut mean = Scratch::empty(n);
    mean.vec().extend_from_slice(&guide);
    for plane in [&mut mean, &mut input, &mut square, &mut product] {
        box_mean(plane, width, height, radius);
    }
    // From here on `product` holds a and `input` holds b of the local model `L = a grey + b`.
    for (((a, b), square), mean) in product.iter_mut().zip(&mut *input).zip(&*square).zip(&*mean) {
        *a = (*a - mean * *b) / (square - mean * mean + EPS);
        *b -= *a * mean;
    }
    box_mean(&mut product, width, height, radius);
    box_mean(&mut input, width, height, radius);
    guide.iter_mut().zip(&*product).zip(&*input).for_each(|((l, a), b)| *l = (a * *l + b).clamp(0.0, 1.0));
    guide
}
