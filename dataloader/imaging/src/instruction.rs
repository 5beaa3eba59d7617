//! Visual instructions: a ground, and the same ground degraded like the image to be restored.

use defusion_config::{Degradation, Severity, Synthesis};

use crate::degrade::{Setting, Subject};
use crate::ground::Pool;
use crate::{Image, Rng};

/// A visual instruction and its clean ground (paper, section 3.1): two aligned square images of `grounds.size` pixels a
/// side, values multiples of 1/255.
#[derive(Clone, Debug, PartialEq)]
pub struct Instruction {
    /// The visual instruction v: the degraded ground.
    pub v: Image,
    /// The same ground, clean.
    pub null: Image,
}

/// Draws an instruction for training: any crop of the canvas, mirrored or not, the same for both images.
///
/// `categories` are applied in the given order with intensities drawn at `severity` (the paper matches categories, not
/// parameters). `natural` is a clean training image for the natural quadrant, used if the user gave none of their own.
/// The whole is a pure function of one draw from `rng`, which advances by just that.
pub fn make(
    pool: &Pool,
    synthesis: &Synthesis,
    categories: &[Degradation],
    severity: Severity,
    natural: Option<&Image>,
    rng: &mut Rng,
) -> Instruction {
    let seed = rng.u64();
    let mut place = Rng::new(seed, &[1]);
    let margin = margin(pool) as u64 + 1;
    let corner = [0, 1].map(|_| place.below(margin) as usize);
    let mut instruction = cut(pool, degraded(pool, synthesis, categories, severity, natural, seed), corner);
    if place.chance(0.5) {
        instruction.v.flip_horizontal();
        instruction.null.flip_horizontal();
    }
    instruction
}

/// Draws an instruction for inference: the canvas's centre, not mirrored. Otherwise as [`make`].
pub fn centered(
    pool: &Pool,
    synthesis: &Synthesis,
    categories: &[Degradation],
    severity: Severity,
    natural: Option<&Image>,
    rng: &mut Rng,
) -> Instruction {
    let canvas = degraded(pool, synthesis, categories, severity, natural, rng.u64());
    cut(pool, canvas, [margin(pool) / 2; 2])
}

fn margin(pool: &Pool) -> usize {
    pool.canvas().saturating_sub(pool.size())
}

/// The whole canvas, degraded before it is cropped, so that blurs and streaks reach in from outside the crop.
fn degraded(
    pool: &Pool,
    synthesis: &Synthesis,
    categories: &[Degradation],
    severity: Severity,
    natural: Option<&Image>,
    seed: u64,
) -> Instruction {
    let mut rng = Rng::new(seed, &[0]);
    let null = pool.draw(natural, &mut rng);
    let setting = Setting { synthesis, severity, length_scale: pool.length_scale(), subject: Subject::Ground };
    let v = setting.draw(categories, &mut rng).apply(&null);
    Instruction { v, null }
}

fn cut(pool: &Pool, canvas: Instruction, [x, y]: [usize; 2]) -> Instruction {
    // Validated configs have a canvas at least as large as the crop; one that is not stays whole.
    let cut = |image: Image| image.crop(x, y, pool.size(), pool.size()).unwrap_or(image);
    Instruction { v: cut(canvas.v), null: cut(canvas.null) }
}
