//! The physics of each degradation: what its formula promises, measured on its output.

mod blur;
mod noise;
mod weather;

use defusion_config::{Degradation, Severity, Synthesis};
use defusion_imaging::degrade::{self, Op, Params};
use defusion_imaging::{Image, Rng};

const SIDE: usize = 128;

fn apply(params: Params, seed: u64, image: &Image) -> Image {
    let mut image = image.clone();
    Op { params, seed }.apply(&mut image);
    image
}

fn drawn(category: Degradation, seed: u64) -> Op {
    let rng = &mut Rng::new(seed, &[]);
    degrade::draw(&[category], &Synthesis::default(), Severity::Any, 1.0, rng).ops()[0].clone()
}

fn flat(value: f32) -> Image {
    Image::filled(SIDE, SIDE, value)
}

fn decode(v: f32) -> f64 {
    let v = f64::from(v);
    if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
}

/// Mean and standard deviation.
fn moments(values: impl Iterator<Item = f64> + Clone) -> [f64; 2] {
    let n = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / n;
    [mean, (values.map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt()]
}

fn values(image: &Image) -> impl Iterator<Item = f64> + Clone {
    image.data().iter().map(|v| f64::from(*v))
}
