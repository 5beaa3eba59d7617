//! Visual grounds: the charts that instructions are drawn on (paper, section 4). One element of each of four pools, in
//! the quadrants of a canvas, in random order.

mod colour;
mod natural;
mod random;
mod regular;
mod spectrum;

use std::path::PathBuf;

use defusion_config::{GroundKind, Grounds};

use crate::{Picture, Rng};
use natural::Folder;

/// A procedural element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// Spokes.
    SiemensStar,
    /// Rings that narrow outwards, up to the finest that pixels can show.
    ZonePlate,
    /// Rings of one width.
    Rings,
    /// Parallel lines.
    Grating,
    /// Checkerboard.
    Checkers,
    /// A square turned by five degrees.
    SlantedEdges,
    /// Lines that converge.
    Wedge,
    /// Noise without neighbours: Gaussian, uniform, binary, coloured.
    WhiteNoise,
    /// Noise of power spectrum 1/f^a.
    PowerLawNoise,
    /// Fractal noise.
    FractalNoise,
    /// Discs of all sizes that hide each other.
    DeadLeaves,
    /// The 24 patches of the ColorChecker.
    ColorChecker,
    /// Twenty grey steps of equal density.
    GreyScale,
    /// Hue, saturation and value.
    Ramps,
    /// One colour.
    Flat,
}

impl Element {
    /// Regular and concentric textures.
    pub const REGULAR: [Self; 7] = [
        Self::SiemensStar,
        Self::ZonePlate,
        Self::Rings,
        Self::Grating,
        Self::Checkers,
        Self::SlantedEdges,
        Self::Wedge,
    ];
    /// Random textures.
    pub const RANDOM: [Self; 4] = [Self::WhiteNoise, Self::PowerLawNoise, Self::FractalNoise, Self::DeadLeaves];
    /// Colours.
    pub const COLOUR: [Self; 4] = [Self::ColorChecker, Self::GreyScale, Self::Ramps, Self::Flat];

    /// What it is called in galleries.
    pub fn name(self) -> &'static str {
        match self {
            Self::SiemensStar => "siemens star",
            Self::ZonePlate => "zone plate",
            Self::Rings => "rings",
            Self::Grating => "grating",
            Self::Checkers => "checkers",
            Self::SlantedEdges => "slanted edges",
            Self::Wedge => "wedge",
            Self::WhiteNoise => "white noise",
            Self::PowerLawNoise => "power law",
            Self::FractalNoise => "fractal noise",
            Self::DeadLeaves => "dead leaves",
            Self::ColorChecker => "colorchecker",
            Self::GreyScale => "grey scale",
            Self::Ramps => "ramps",
            Self::Flat => "flat",
        }
    }

    /// A square tile of `side` pixels. Lengths of fixed size (leaves, grid lines) are for a side of 128 and scale with
    /// it; periods keep the limits that pixels set.
    pub fn draw(self, side: usize, rng: &mut Rng) -> Picture {
        match self {
            Self::SiemensStar => regular::siemens_star(side, rng),
            Self::ZonePlate => regular::zone_plate(side, rng),
            Self::Rings => regular::rings(side, rng),
            Self::Grating => regular::grating(side, rng),
            Self::Checkers => regular::checkers(side, rng),
            Self::SlantedEdges => regular::slanted_edges(side, rng),
            Self::Wedge => regular::wedge(side, rng),
            Self::WhiteNoise => random::white_noise(side, rng),
            Self::PowerLawNoise => random::power_law_noise(side, rng),
            Self::FractalNoise => random::fractal_noise(side, rng),
            Self::DeadLeaves => random::dead_leaves(side, rng),
            Self::ColorChecker => colour::color_checker(side),
            Self::GreyScale => colour::grey_scale(side, rng),
            Self::Ramps => colour::ramps(side, rng),
            Self::Flat => colour::flat(side, rng),
        }
    }
}

/// Why the user's ground pictures cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GroundError {
    /// The folder cannot be listed.
    #[error("{key}: cannot list {}: {source}", path.display())]
    List {
        /// Config key.
        key: &'static str,
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The folder has no picture.
    #[error("{key}: {} holds no PNG or JPEG picture; add some, or unset the key", path.display())]
    Empty {
        /// Config key.
        key: &'static str,
        /// The folder.
        path: PathBuf,
    },
    /// The folder has more pictures than are kept in memory.
    #[error("{key}: {} holds {count} pictures, of which at most {most} are kept in memory; keep fewer in it", path.display())]
    TooMany {
        /// Config key.
        key: &'static str,
        /// The folder.
        path: PathBuf,
        /// Pictures found.
        count: usize,
        /// Pictures allowed.
        most: usize,
    },
    /// A picture cannot be decoded.
    #[error("{key}: cannot read {}: {source}", path.display())]
    Decode {
        /// Config key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: image::ImageError,
    },
}

/// The pools that grounds are drawn from, with the user's own pictures loaded. Opened once, shared by all threads.
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

    /// A clean ground: square, `canvas` pixels wide, 8-bit values. Its natural quadrant is a crop of the user's
    /// pictures, else of `natural` (a clean training picture), else coloured dead leaves, the classic model of natural
    /// pictures (Lee, Mumford and Huang, 2001).
    pub fn draw(&self, natural: Option<&Picture>, rng: &mut Rng) -> Picture {
        let seed = rng.u64();
        let mut rng = Rng::new(seed, &[]);
        let mut ground = match self.kind {
            GroundKind::Blank => Picture::filled(self.canvas, self.canvas, 128.0 / 255.0),
            GroundKind::Simple => self.stripes(),
            GroundKind::Composed => self.compose(natural, &mut rng),
        };
        ground.quantize();
        ground
    }

    fn stripes(&self) -> Picture {
        let half = (STRIPE_PERIOD * self.canvas / 512).max(1);
        let mut picture = Picture::filled(self.canvas, self.canvas, 0.0);
        for row in picture.data_mut().chunks_exact_mut(self.canvas) {
            row.iter_mut().enumerate().for_each(|(x, v)| *v = ((x / half) % 2) as f32);
        }
        picture
    }

    fn compose(&self, natural: Option<&Picture>, rng: &mut Rng) -> Picture {
        let mut families = [Family::Regular, Family::Random, Family::Natural, Family::Colour];
        rng.shuffle(&mut families);
        let side = self.canvas / 2;
        let mut canvas = Picture::filled(self.canvas, self.canvas, 0.0);
        for (i, family) in families.into_iter().enumerate() {
            let tile = self.element(family, side, natural, &mut rng.fork(i as u64));
            let (x0, y0) = (i % 2 * side, i / 2 * side);
            for (to, from) in canvas.data_mut().chunks_exact_mut(self.canvas * self.canvas).zip(tile.planes()) {
                for (y, row) in from.chunks_exact(side).enumerate() {
                    to[(y0 + y) * self.canvas + x0..][..side].copy_from_slice(row);
                }
            }
        }
        canvas
    }

    fn element(&self, family: Family, side: usize, natural: Option<&Picture>, rng: &mut Rng) -> Picture {
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
                Some(picture) => natural::crop_of(picture, side, rng),
                None => random::coloured_leaves(side, rng),
            },
        }
    }
}
