//! How the pixels of one tile are packed: lossless, and quick to unpack.

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CParameter, ParamSwitch};

use super::sample::Sample;
use super::{FormatError, TileCodec};

/// Level 1: on photographs higher ones win 0 to 2% of the bytes at up to eight times the work.
const ZSTD_LEVEL: i32 = 1;
/// Residuals of photographs repeat by chance, if at all: matches cost more time than they save bytes. These two make them
/// rare, which unpacks 1.7 times as fast for 2% more bytes. All the rest is Huffman's codes.
const ZSTD_MIN_MATCH: u32 = 7;
/// How far the search for a match goes on from where there was none, bytes.
const ZSTD_STEP: u32 = 128;

/// Packs tiles, one after another.
pub(crate) struct TileEncoder {
    codec: TileCodec,
    zstd: Compressor<'static>,
    bytes: Vec<u8>,
}

impl TileEncoder {
    pub(crate) fn new(codec: TileCodec) -> std::io::Result<Self> {
        let mut zstd = Compressor::new(ZSTD_LEVEL)?;
        zstd.set_parameter(CParameter::MinMatch(ZSTD_MIN_MATCH))?;
        zstd.set_parameter(CParameter::TargetLength(ZSTD_STEP))?;
        // Without this, a step makes Zstandard store bytes as they are.
        zstd.set_parameter(CParameter::LiteralCompressionMode(ParamSwitch::Enable))?;
        Ok(Self { codec, zstd, bytes: Vec::new() })
    }

    /// Appends the tile of planes red, green, blue to `blob`. `planes` is used up.
    pub(crate) fn encode<T: Sample>(
        &mut self,
        planes: &mut [T],
        width: usize,
        blob: &mut Vec<u8>,
    ) -> std::io::Result<()> {
        if self.codec != TileCodec::Raw {
            predict(planes, width);
        }
        self.bytes.clear();
        T::pack(planes, &mut self.bytes);
        match self.codec {
            TileCodec::Raw => blob.extend_from_slice(&self.bytes),
            TileCodec::Lz4 => blob.extend_from_slice(&lz4_flex::block::compress(&self.bytes)),
            TileCodec::Zstd => blob.extend_from_slice(&self.zstd.compress(&self.bytes)?),
        }
        Ok(())
    }
}

/// Unpacks tiles; keeps its buffers.
pub(crate) struct TileDecoder {
    zstd: Decompressor<'static>,
    bytes: Vec<u8>,
}

impl TileDecoder {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self { zstd: Decompressor::new()?, bytes: Vec::new() })
    }

    /// Unpacks a tile into `planes` (red, green, blue), whose length is the tile's number of samples.
    pub(crate) fn decode<T: Sample>(
        &mut self,
        codec: TileCodec,
        packed: &[u8],
        planes: &mut [T],
        width: usize,
    ) -> Result<(), FormatError> {
        let wanted = planes.len() * T::BYTES;
        let bytes = match codec {
            TileCodec::Raw => packed,
            TileCodec::Lz4 | TileCodec::Zstd => {
                self.bytes.resize(wanted, 0);
                let len = match codec {
                    TileCodec::Zstd => {
                        self.zstd.decompress_to_buffer(packed, &mut self.bytes[..]).map_err(FormatError::damaged)?
                    }
                    _ => lz4_flex::block::decompress_into(packed, &mut self.bytes).map_err(FormatError::damaged)?,
                };
                &self.bytes[..len]
            }
        };
        if bytes.len() != wanted {
            return Err(FormatError::damaged(format!("a tile has {} bytes instead of {wanted}", bytes.len())));
        }
        T::unpack(bytes, planes);
        if codec != TileCodec::Raw {
            restore(planes, width);
        }
        Ok(())
    }
}

/// Planes red, green, blue become residuals of green, red - green, blue - green, in the place of red, green, blue.
fn predict<T: Sample>(planes: &mut [T], width: usize) {
    let (red, rest) = planes.split_at_mut(planes.len() / 3);
    let (green, blue) = rest.split_at_mut(red.len());
    for ((r, g), b) in red.iter_mut().zip(green.iter()).zip(blue.iter_mut()) {
        *r = r.minus(*g);
        *b = b.minus(*g);
    }
    for plane in [red, green, blue] {
        for i in (width..plane.len()).rev() {
            plane[i] = plane[i].minus(plane[i - width]);
        }
        for i in (1..width).rev() {
            plane[i] = plane[i].minus(plane[i - 1]);
        }
    }
}

/// The inverse of [`predict`].
fn restore<T: Sample>(planes: &mut [T], width: usize) {
    let (red, rest) = planes.split_at_mut(planes.len() / 3);
    let (green, blue) = rest.split_at_mut(red.len());
    for plane in [&mut *red, &mut *green, &mut *blue] {
        for i in 1..width {
            plane[i] = plane[i].plus(plane[i - 1]);
        }
        let mut rows = plane.chunks_exact_mut(width);
        let Some(mut above) = rows.next() else { continue };
        for row in rows {
            for (p, a) in row.iter_mut().zip(above.iter()) {
                *p = p.plus(*a);
            }
            above = row;
        }
    }
    for ((r, g), b) in red.iter_mut().zip(green.iter()).zip(blue.iter_mut()) {
        *r = r.plus(*g);
        *b = b.plus(*g);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn there_and_back<T: Sample + PartialEq + std::fmt::Debug>(planes: &[T], width: usize) {
        for codec in [TileCodec::Raw, TileCodec::Lz4, TileCodec::Zstd] {
            let mut blob = Vec::new();
            TileEncoder::new(codec).unwrap().encode(&mut planes.to_vec(), width, &mut blob).unwrap();
            let mut back = vec![T::default(); planes.len()];
            TileDecoder::new().unwrap().decode(codec, &blob, &mut back, width).unwrap();
            assert_eq!(back, planes, "{}", codec.name());
        }
    }

    proptest! {
        #[test]
        fn tiles_are_lossless(width in 1usize..20, height in 1usize..20, seed: u64) {
            let mut rng = defusion_imaging::Rng::new(seed, &[]);
            let planes: Vec<u16> = (0..3 * width * height).map(|_| rng.u64() as u16).collect();
            there_and_back(&planes, width);
            there_and_back(&planes.iter().map(|s| *s as u8).collect::<Vec<_>>(), width);
        }

        #[test]
        fn damaged_tiles_are_errors_or_pixels(packed: Vec<u8>, width in 1usize..9, height in 1usize..9) {
            let mut decoder = TileDecoder::new().unwrap();
            for codec in [TileCodec::Raw, TileCodec::Lz4, TileCodec::Zstd] {
                let _ = decoder.decode(codec, &packed, &mut vec![0u8; 3 * width * height], width);
                let _ = decoder.decode(codec, &packed, &mut vec![0u16; 3 * width * height], width);
            }
        }
    }
}
