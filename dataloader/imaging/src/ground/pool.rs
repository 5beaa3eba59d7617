//! The pools that a canvas is composed from.

use defusion_config::{GroundKind, Grounds};

use super::natural::{self, Folder};
use super::{Element, GroundError, random};
use crate::{Image, Rng};

/// The four pools that grounds are drawn from, with the user's own images loaded. Opened once, shared by all threads.
#[derive(Debug)]
pub struct Pool {
    kind: GroundKind,
    canvas: usize,
    size: usize,
    natural: Option<Folder>,
    charts: Option<Folder>,
}

/// What a quadrant shows.
#[derive(Clone, Copy)]
enum Family {
    Regular,
    Random,
    Natural,
    Colour,
}

/// Side of the stripes of [`GroundKind::Simple`], period on the 256-pixel canvas.
const STRIPE_PERIOD: usize = 32;

impl Pool {
    /// Opens the pools of `grounds`, decoding the user's folders.
    ///
    /// # Errors
    /// [`GroundError`], which names the config key and the file or folder.
    pub fn open(grounds: &Grounds) -> Result<Self, GroundError> {
        let folder =
            |key, path: &Option<String>| path.as_ref().map(|path| Folder::open(key, path.as_ref())).transpose();
        Ok(Self {
            kind: grounds.kind,
            canvas: grounds.canvas as usize,
            size: grounds.size as usize,
            natural: folder("data.grounds.natural", &grounds.natural)?,
            charts: folder("data.grounds.charts", &grounds.charts)?,
        })
    }

    /// Side of the canvas, pixels.
    pub fn canvas(&self) -> usize {
        self.canvas
    }

    /// Side of the instruction, pixels.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Factor on the lengths of degradations: they are halved on the 256-pixel canvas, and follow its side.
    pub fn length_scale(&self) -> f64 {
        0.5 * self.canvas as f64 / 256.0
    }

    /// Draws a clean ground: square, `canvas` pixels wide, 8-bit values. Its natural quadrant is a crop of the user's
    /// images, else of `natural` (a clean training image), else coloured dead leaves, the classic model of natural
    /// images (Lee, Mumford and Huang, 2001).
    pub fn draw(&self, natural: Option<&Image>, rng: &mut Rng) -> Image {
        let seed = rng.u64();
        let mut rng = Rng::new(seed, &[]);
        let mut ground = match self.kind {
            GroundKind::Blank => Image::filled(self.canvas, self.canvas, 128.0 / 255.0),
            GroundKind::Simple => self.stripes(),
            GroundKind::Composed => self.compose(natural, &mut rng),
        };
        ground.quantize();
        ground
    }

    fn stripes(&self) -> Image {
        let half = (STRIPE_PERIOD * self.canvas / 512).max(1);
        let mut image = Image::filled(self.canvas, self.canvas, 0.0);
        for row in image.data_mut().chunks_exact_mut(self.canvas) {
            row.iter_mut().enumerate().for_each(|(x, v)| *v = ((x / half) % 2) as f32);
        }
        image
    }

    fn compose(&self, natural: Option<&Image>, rng: &mut Rng) -> Image {
        let mut families = [Family::Regular, Family::Random, Family::Natural, Family::Colour];
        rng.shuffle(&mut families);
        let side = self.canvas / 2;
        let mut canvas = Image::filled(self.canvas, self.canvas, 0.0);
        for (i, family) in families.into_iter().enumerate() {
            let tile = self.element(family, side, natural, &mut rng.fork(i as u64));
            canvas.paste(&tile, i % 2 * side, i / 2 * side);
        }
        canvas
    }

    fn element(&self, family: Family, side: usize, natural: Option<&Image>, rng: &mut Rng) -> Image {
        let one_of = |elements: &[Element], rng: &mut Rng| {
            let i = rng.below(elements.len() as u64) as usize;
            elements[i].draw(side, rng)
        };
        match (family, &self.natural, &self.charts) {
            // Whoever brings charts wants to see them: every other regular element is one.
            (Family::Regular, _, Some(charts)) if rng.chance(0.5) => charts.crop(side, rng),
            (Family::Regular, ..) => one_of(&Element::REGULAR, rng),
            (Family::Random, ..) => one_of(&Element::RANDOM, rng),
            (Family::Colour, ..) => one_of(&Element::COLOUR, rng),
            (Family::Natural, Some(folder), _) => folder.crop(side, rng),
            (Family::Natural, None, _) => match natural {
                Some(image) => natural::crop_of(image, side, rng),
                None => random::coloured_leaves(side, rng),
            },
        }
    }
}
