//! Synthetic degradations: ordered chains of operations with frozen parameters, replayable from their seeds.
//!
//! Formulas and ranges are those of the field's public generators (each module names its own); the ranges live in
//! [`defusion_config::synthesis`]. Values are sRGB-encoded in [0, 1]; a module that works in linear light says so.

mod blur;
mod dct;
mod depth;
mod jpeg;
mod kernel;
pub(crate) mod light;
mod low_light;
mod noise;
pub(crate) mod normal;
mod rain;
mod raindrop;
mod scratch;
mod snow;
mod underwater;
pub(crate) mod value_noise;
mod veil;

use defusion_config::{Degradation, Severity, Synthesis};

pub use blur::{DefocusBlur, GaussianBlur, MotionBlur, Path};
pub use depth::Depth;
pub use jpeg::Jpeg;
pub use low_light::{Illumination, LowLight};
pub use noise::{GaussianNoise, RealNoise};
pub use rain::Rain;
pub use raindrop::Raindrop;
pub use snow::Snow;
pub use underwater::Underwater;
pub use veil::{Haze, HeavyRain};

use crate::{Image, Rng};

/// The parameters of one operation, drawn and frozen.
#[derive(Clone, Debug, PartialEq)]
pub enum Params {
    /// Rain streaks.
    Rain(Rain),
    /// Rain streaks under a veil.
    HeavyRain(HeavyRain),
    /// Snow.
    Snow(Snow),
    /// Drops on the lens.
    Raindrop(Raindrop),
    /// Haze.
    Haze(Haze),
    /// Motion blur.
    MotionBlur(MotionBlur),
    /// Defocus blur.
    DefocusBlur(DefocusBlur),
    /// Gaussian blur.
    GaussianBlur(GaussianBlur),
    /// Gaussian noise.
    GaussianNoise(GaussianNoise),
    /// Camera noise.
    RealNoise(RealNoise),
    /// JPEG.
    Jpeg(Jpeg),
    /// Low light.
    LowLight(LowLight),
    /// Underwater.
    Underwater(Underwater),
}

/// One degradation: its category, its frozen parameters, and the seed of all that is random in its rendering.
/// Applied twice to the same image it gives the same result.
#[derive(Clone, Debug, PartialEq)]
pub struct Op {
    /// The parameters; their variant is the category.
    pub params: Params,
    /// Seed of streaks, flakes, noise, relief: all that is drawn per pixel or per particle.
    pub seed: u64,
}

impl Op {
    /// Category of the operation.
    pub fn category(&self) -> Degradation {
        match self.params {
            Params::Rain(_) => Degradation::Rain,
            Params::HeavyRain(_) => Degradation::HeavyRain,
            Params::Snow(_) => Degradation::Snow,
            Params::Raindrop(_) => Degradation::Raindrop,
            Params::Haze(_) => Degradation::Haze,
            Params::MotionBlur(_) => Degradation::MotionBlur,
            Params::DefocusBlur(_) => Degradation::DefocusBlur,
            Params::GaussianBlur(_) => Degradation::GaussianBlur,
            Params::GaussianNoise(_) => Degradation::GaussianNoise,
            Params::RealNoise(_) => Degradation::RealNoise,
            Params::Jpeg(_) => Degradation::Jpeg,
            Params::LowLight(_) => Degradation::LowLight,
            Params::Underwater(_) => Degradation::Underwater,
        }
    }

    /// Degrades an image in place. The result is in [0, 1], not rounded (JPEG's is 8-bit by nature).
    pub fn apply(&self, image: &mut Image) {
        if image.data().is_empty() {
            return;
        }
        let rng = Rng::new(self.seed, &[]);
        match &self.params {
            Params::Rain(p) => p.render(image, rng),
            Params::HeavyRain(p) => p.render(image, rng),
            Params::Snow(p) => p.render(image, rng),
            Params::Raindrop(p) => p.render(image, rng),
            Params::Haze(p) => p.render(image, rng),
            Params::MotionBlur(p) => p.render(image, rng),
            Params::DefocusBlur(p) => p.render(image),
            Params::GaussianBlur(p) => p.render(image),
            Params::GaussianNoise(p) => p.render(image, rng),
            Params::RealNoise(p) => p.render(image, rng),
            Params::Jpeg(p) => p.render(image),
            Params::LowLight(p) => p.render(image, rng),
            Params::Underwater(p) => p.render(image, rng),
        }
        for v in image.data_mut() {
            *v = v.clamp(0.0, 1.0);
        }
    }
}

/// An ordered list of operations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chain {
    ops: Vec<Op>,
}

impl Chain {
    /// The chain of `ops`, applied first to last.
    pub fn new(ops: Vec<Op>) -> Self {
        Self { ops }
    }

    /// The operations, in order.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// The categories present, in order.
    pub fn categories(&self) -> Vec<Degradation> {
        self.ops.iter().map(Op::category).collect()
    }

    /// Renders the degraded image x_LQ: every operation in order, each clamped to [0, 1], and one rounding to 8 bit at the
    /// end.
    pub fn apply(&self, clean: &Image) -> Image {
        self.apply_without(clean, &[])
    }

    /// Renders T_v(x_LQ), the image without the indicated degradations: the chain again in the same order, with
    /// the same parameters and the same noise, without the operations whose category is in `indicated`. With nothing
    /// left to render it is the clean image, rounded to 8 bit like any other.
    pub fn apply_without(&self, clean: &Image, indicated: &[Degradation]) -> Image {
        let mut image = clean.clone();
        for op in self.ops.iter().filter(|op| !indicated.contains(&op.category())) {
            op.apply(&mut image);
        }
        image.quantize();
        image
    }

    /// Renders [`Chain::apply`] and [`Chain::apply_without`] at once, bit for bit, with the work they share done once.
    pub fn apply_both(&self, clean: &Image, indicated: &[Degradation]) -> (Image, Image) {
        let stays = |op: &&Op| !indicated.contains(&op.category());
        let shared = self.ops.iter().take_while(stays).count();
        let mut degraded = clean.clone();
        self.ops[..shared].iter().for_each(|op| op.apply(&mut degraded));
        let target = (shared < self.ops.len()).then(|| {
            let mut target = degraded.clone();
            self.ops[shared..].iter().filter(stays).for_each(|op| op.apply(&mut target));
            target.quantize();
            target
        });
        self.ops[shared..].iter().for_each(|op| op.apply(&mut degraded));
        degraded.quantize();
        let target = target.unwrap_or_else(|| degraded.clone());
        (degraded, target)
    }
}

/// The kind of image that is degraded: it decides how light falls on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// An image of a scene.
    Photograph,
    /// A flat chart: no shading of its own.
    Ground,
}

/// All that parameters are drawn by.
pub(crate) struct Setting<'a> {
    pub synthesis: &'a Synthesis,
    pub severity: Severity,
    pub length_scale: f64,
    pub subject: Subject,
}

impl Setting<'_> {
    /// Draws one operation per category, in the given order.
    pub fn draw(&self, categories: &[Degradation], rng: &mut Rng) -> Chain {
        Chain::new(categories.iter().map(|category| self.op(*category, rng)).collect())
    }

    fn op(&self, category: Degradation, rng: &mut Rng) -> Op {
        let params = match category {
            Degradation::Rain => Params::Rain(Rain::draw(self, rng)),
            Degradation::HeavyRain => Params::HeavyRain(HeavyRain::draw(self, rng)),
            Degradation::Snow => Params::Snow(Snow::draw(self, rng)),
            Degradation::Raindrop => Params::Raindrop(Raindrop::draw(self, rng)),
            Degradation::Haze => Params::Haze(Haze::draw(self, rng)),
            Degradation::MotionBlur => Params::MotionBlur(MotionBlur::draw(self, rng)),
            Degradation::DefocusBlur => Params::DefocusBlur(DefocusBlur::draw(self, rng)),
            Degradation::GaussianBlur => Params::GaussianBlur(GaussianBlur::draw(self, rng)),
            Degradation::GaussianNoise => Params::GaussianNoise(GaussianNoise::draw(self, rng)),
            Degradation::RealNoise => Params::RealNoise(RealNoise::draw(self, rng)),
            Degradation::Jpeg => Params::Jpeg(Jpeg::draw(self, rng)),
            Degradation::LowLight => Params::LowLight(LowLight::draw(self, rng)),
            Degradation::Underwater => Params::Underwater(Underwater::draw(self, rng)),
        };
        Op { params, seed: rng.u64() }
    }
}

/// Draws a chain for a photograph: one operation per category, in the given order, with parameters from `synthesis`
/// at `severity`. Pixel lengths are multiplied by `length_scale` (1 for photographs at their own size).
pub fn draw(
    categories: &[Degradation],
    synthesis: &Synthesis,
    severity: Severity,
    length_scale: f64,
    rng: &mut Rng,
) -> Chain {
    Setting { synthesis, severity, length_scale, subject: Subject::Photograph }.draw(categories, rng)
}
