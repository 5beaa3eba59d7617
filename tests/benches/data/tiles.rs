//! Files of square tiles without prediction, for the comparison of layouts.
//!
//! A header of little-endian u32 (codec, tile, width, height), the tiles' ends, and the tiles, interleaved RGB, row by row.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use defusion_imaging::{Image, Pixels, Samples, decode_pixels};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

use crate::Failure;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Zstd = 0,
    Lz4 = 1,
    Png = 2,
}

impl Codec {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Zstd => "raw, zstd",
            Self::Lz4 => "raw, lz4",
            Self::Png => "png (fast)",
        }
    }

    fn pack(self, rgb: &[u8], [w, h]: [usize; 2]) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Zstd => Ok(zstd::bulk::compress(rgb, 1)?),
            Self::Lz4 => Ok(lz4_flex::block::compress(rgb)),
            Self::Png => {
                let mut png = Vec::new();
                PngEncoder::new_with_quality(&mut png, CompressionType::Fast, FilterType::Adaptive).write_image(
                    rgb,
                    w as u32,
                    h as u32,
                    ExtendedColorType::Rgb8,
                )?;
                Ok(png)
            }
        }
    }

    fn unpack(self, bytes: &[u8], len: usize) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Zstd => Ok(zstd::bulk::decompress(bytes, len)?),
            Self::Lz4 => Ok(lz4_flex::block::decompress(bytes, len)?),
            Self::Png => match decode_pixels(bytes, len as u64)?.samples() {
                Samples::U8(rgb) => Ok(rgb.clone()),
                Samples::U16(_) => Err("not 8 bits".into()),
            },
        }
    }
}

/// A file of tiles, or its bytes.
pub(crate) struct Tiles<R> {
    input: R,
    codec: Codec,
    tile: usize,
    width: usize,
    height: usize,
    ends: Vec<usize>,
}

pub(crate) trait Input {
    fn read(&self, at: usize, len: usize) -> Result<Vec<u8>, Failure>;
}

impl Input for File {
    fn read(&self, at: usize, len: usize) -> Result<Vec<u8>, Failure> {
        let mut bytes = vec![0; len];
        self.read_exact_at(&mut bytes, at as u64)?;
        Ok(bytes)
    }
}

impl Input for &[u8] {
    fn read(&self, at: usize, len: usize) -> Result<Vec<u8>, Failure> {
        Ok(self.get(at..at + len).ok_or("is too short")?.to_vec())
    }
}

const HEADER: usize = 16;

fn words(bytes: &[u8]) -> Vec<usize> {
    bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize).collect()
}

impl Tiles<File> {
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        Self::new(File::open(path)?)
    }

    /// The file of an image.
    pub(crate) fn encode(pixels: &Pixels, codec: Codec, tile: usize) -> Result<Vec<u8>, Failure> {
        let Samples::U8(samples) = pixels.samples() else { return Err("not 8 bits".into()) };
        let (width, height) = (pixels.width() as usize, pixels.height() as usize);
        let (mut ends, mut tiles) = (Vec::new(), Vec::new());
        for y in (0..height).step_by(tile) {
            for x in (0..width).step_by(tile) {
                let (w, h) = (tile.min(width - x), tile.min(height - y));
                let rgb: Vec<u8> =
                    (y..y + h).flat_map(|row| &samples[3 * (row * width + x)..][..3 * w]).copied().collect();
                tiles.extend(codec.pack(&rgb, [w, h])?);
                ends.push(tiles.len());
            }
        }
        let header = [codec as usize, tile, width, height].into_iter().chain(ends);
        let mut bytes: Vec<u8> = header.flat_map(|word| (word as u32).to_le_bytes()).collect();
        bytes.append(&mut tiles);
        Ok(bytes)
    }
}

impl<'a> Tiles<&'a [u8]> {
    pub(crate) fn of(bytes: &'a [u8]) -> Result<Self, Failure> {
        Self::new(bytes)
    }
}

impl<R: Input> Tiles<R> {
    fn new(input: R) -> Result<Self, Failure> {
        let header = words(&input.read(0, HEADER)?);
        let codec = [Codec::Zstd, Codec::Lz4, Codec::Png][header[0]];
        let (tile, width, height) = (header[1], header[2], header[3]);
        let ends = words(&input.read(HEADER, 4 * width.div_ceil(tile) * height.div_ceil(tile))?);
        Ok(Self { input, codec, tile, width, height, ends })
    }

    /// The square of `side` pixels at (`x`, `y`).
    pub(crate) fn crop(&self, x: usize, y: usize, side: usize) -> Result<Image, Failure> {
        let (tile, across) = (self.tile, self.width.div_ceil(self.tile));
        let columns = x / tile..(x + side).div_ceil(tile);
        let mut rgb = vec![0; 3 * side * side];
        for row in y / tile..(y + side).div_ceil(tile) {
            let start = |n: usize| if n == 0 { 0 } else { self.ends[n - 1] };
            let (first, end) = (start(row * across + columns.start), self.ends[row * across + columns.end - 1]);
            let run = self.input.read(HEADER + 4 * self.ends.len() + first, end - first)?;
            for column in columns.clone() {
                let n = row * across + column;
                let (left, top) = (column * tile, row * tile);
                let (w, h) = (tile.min(self.width - left), tile.min(self.height - top));
                let part = self.codec.unpack(&run[start(n) - first..self.ends[n] - first], 3 * w * h)?;
                let (x0, x1) = (left.max(x), (left + w).min(x + side));
                for line in top.max(y)..(top + h).min(y + side) {
                    let from = &part[3 * ((line - top) * w + x0 - left)..][..3 * (x1 - x0)];
                    rgb[3 * ((line - y) * side + x0 - x)..][..from.len()].copy_from_slice(from);
                }
            }
        }
        Image::from_rgb8(side, side, &rgb).ok_or_else(|| "has no pixels".into())
    }
}
