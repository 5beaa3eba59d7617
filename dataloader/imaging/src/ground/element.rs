//! The procedural elements: every chart and texture that is drawn rather than read.

use super::{colour, random, regular};
use crate::{Image, Rng};

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

    /// Name in galleries.
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

    /// Draws a square tile of `side` pixels. Lengths of fixed size (leaves, grid lines) are for a side of 128 and scale with
    /// it; periods keep the limits that pixels set.
    pub fn draw(self, side: usize, rng: &mut Rng) -> Image {
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
