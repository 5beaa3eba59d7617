//! The ways to store images, and reading a crop pair from each.

use std::path::{Path, PathBuf};

use defusion_dataloader::shard::{DatasetReader, TileCodec};
use defusion_imaging::{Image, Rng, Samples, decode_pixels};
use defusion_storage::Store;

use crate::Failure;
use crate::tiles::{Codec, Tiles};

/// Side of a crop, pixels.
const CROP: usize = 256;

/// A way to store images.
pub(crate) enum Layout {
    /// The shards of this crate.
    Shards(TileCodec, u32),
    /// A file of tiles for each image.
    Tiles(Codec, usize),
    /// PNG files as they are.
    Whole,
}

impl Layout {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Shards(TileCodec::Raw, tile) => format!("shards, tiles of {tile}, not packed"),
            Self::Shards(codec, tile) => format!("shards, tiles of {tile}, predicted, {}", codec.name()),
            Self::Tiles(codec, tile) => format!("tiles of {tile}, {}", codec.name()),
            Self::Whole => "whole images, png".into(),
        }
    }

    /// A folder's name.
    pub(crate) fn key(&self) -> String {
        self.name().replace(", ", "_").replace(' ', "-")
    }

    fn file(&self) -> &'static str {
        if matches!(self, Self::Whole) { "png" } else { "tiles" }
    }
}

/// Place that a layout's images are read from.
pub(crate) enum Source {
    Reader(Box<DatasetReader>),
    Files(PathBuf),
    Objects(Store),
}

/// A layout and a place.
pub(crate) struct Stored<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) source: Source,
    pub(crate) images: &'a [Named],
}

/// Name and size of an image.
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) width: usize,
    pub(crate) height: usize,
}

impl Stored<'_> {
    /// A random crop of both sides of image `i`; gives back a value that depends on its pixels.
    pub(crate) fn crop(&self, i: usize, rng: &mut Rng) -> Result<f64, Failure> {
        let Named { name, width, height } = &self.images[i];
        let (x, y) = (rng.below((width - CROP + 1) as u64) as usize, rng.below((height - CROP + 1) as u64) as usize);
        let sides = match &self.source {
            Source::Reader(reader) => {
                let pair = reader.crop(i, x, y, CROP, CROP)?;
                vec![pair.lq, pair.hq]
            }
            Source::Files(folder) => {
                let read =
                    |side: &str| self.file(&folder.join(side).join(format!("{name}.{}", self.layout.file())), x, y);
                ["input", "target"].into_iter().map(read).collect::<Result<_, _>>()?
            }
            Source::Objects(store) => {
                let read = |side: &str| {
                    let bytes = store.get(&format!("{side}-{name}.{}", self.layout.file()), 1 << 30)?;
                    self.bytes(&bytes, x, y)
                };
                ["input", "target"].into_iter().map(read).collect::<Result<_, _>>()?
            }
        };
        Ok(sides.iter().map(|side| f64::from(side.data()[CROP * CROP / 2])).sum())
    }

    fn file(&self, path: &Path, x: usize, y: usize) -> Result<Image, Failure> {
        match self.layout {
            Layout::Tiles(..) => Ok(Tiles::open(path)?.crop(x, y, CROP)?),
            _ => self.bytes(&std::fs::read(path)?, x, y),
        }
    }

    fn bytes(&self, bytes: &[u8], x: usize, y: usize) -> Result<Image, Failure> {
        if let Layout::Tiles(..) = self.layout {
            return Tiles::of(bytes)?.crop(x, y, CROP);
        }
        let pixels = decode_pixels(bytes, 1 << 28)?;
        let Samples::U8(samples) = pixels.samples() else { return Err("not 8 bits".into()) };
        let stride = 3 * pixels.width() as usize;
        let rows = (y..y + CROP).flat_map(|row| &samples[row * stride + 3 * x..][..3 * CROP]).copied();
        Ok(Image::from_rgb8(CROP, CROP, &rows.collect::<Vec<_>>()).ok_or("a row is short")?)
    }
}
