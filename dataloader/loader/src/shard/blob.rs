//! An image as a blob: an index and its tiles.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::grid::{Rect, TileGrid, interleave, paste};
use super::sample::Sample;
use super::tile::{TileDecoder, TileEncoder};
use super::{FormatError, TileCodec};
use defusion_imaging::Image;
use defusion_imaging::pixels::{Pixels, Samples};

/// Packs an image as a blob.
pub(crate) fn encode(pixels: &Pixels, tile: u32, codec: TileCodec) -> Result<Vec<u8>, FormatError> {
    let grid = TileGrid::new(pixels.width(), pixels.height(), tile);
    match pixels.samples() {
        Samples::U8(samples) => encode_samples(samples, grid, codec),
        Samples::U16(samples) => encode_samples(samples, grid, codec),
    }
}

fn encode_samples<T: Sample>(samples: &[T], grid: TileGrid, codec: TileCodec) -> Result<Vec<u8>, FormatError> {
    let mut encoder = TileEncoder::new(codec).map_err(compressor)?;
    let mut offsets = Vec::with_capacity(grid.tiles() + 1);
    let mut blob = vec![0; grid.index_bytes()];
    let mut planes = Vec::new();
    for n in 0..grid.tiles() {
        offsets.push(blob.len());
        let r = grid.rect(n % grid.across(), n / grid.across());
        planes.clear();
        for c in 0..3 {
            for y in r.y..r.y + r.h {
                let row = &samples[3 * (y * grid.width + r.x)..][..3 * r.w];
                planes.extend(row.iter().skip(c).step_by(3).copied());
            }
        }
        encoder.encode(&mut planes, r.w, &mut blob).map_err(compressor)?;
    }
    offsets.push(blob.len());
    // Parquet's lengths are 32 bits with a sign.
    if blob.len() > i32::MAX as usize - 64 {
        return Err(FormatError::TooLong(blob.len()));
    }
    for (slot, offset) in blob.chunks_exact_mut(4).zip(&offsets) {
        slot.copy_from_slice(&(*offset as u32).to_le_bytes());
    }
    Ok(blob)
}

fn compressor(error: std::io::Error) -> FormatError {
    FormatError::Compressor(error.to_string())
}

/// Place of an image in its shard file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blob {
    pub(crate) position: u64,
    pub(crate) len: u64,
    pub(crate) bits: u8,
}

/// An image in an open shard file.
#[derive(Clone, Copy)]
pub(crate) struct Stored<'a> {
    pub(crate) file: &'a File,
    pub(crate) blob: Blob,
    pub(crate) grid: TileGrid,
    pub(crate) codec: TileCodec,
}

/// Reads images out of blobs; one a thread, for its buffers.
pub(crate) struct BlobReader {
    decoder: TileDecoder,
    index: Vec<u8>,
    packed: Vec<u8>,
    planes8: Vec<u8>,
    planes16: Vec<u16>,
}

impl BlobReader {
    pub(crate) fn new() -> Result<Self, FormatError> {
        let decoder = TileDecoder::new().map_err(compressor)?;
        Ok(Self { decoder, index: Vec::new(), packed: Vec::new(), planes8: Vec::new(), planes16: Vec::new() })
    }

    /// Reads the part `want` of an image, as planes in [0, 1].
    pub(crate) fn image(&mut self, stored: Stored, want: Rect) -> Result<Image, FormatError> {
        let mut image = Image::filled(want.w, want.h, 0.0);
        let out = image.data_mut();
        match stored.blob.bits {
            8 => self.tiles(stored, want, |planes: &[u8], r| paste(planes, r, want, out))?,
            _ => self.tiles(stored, want, |planes: &[u16], r| paste(planes, r, want, out))?,
        }
        Ok(image)
    }

    /// Reads the whole image as it was stored.
    pub(crate) fn pixels(&mut self, stored: Stored) -> Result<Pixels, FormatError> {
        let grid = stored.grid;
        let want = Rect { x: 0, y: 0, w: grid.width, h: grid.height };
        let n = 3 * grid.width * grid.height;
        let samples = match stored.blob.bits {
            8 => {
                let mut v = vec![0u8; n];
                self.tiles(stored, want, |planes: &[u8], r| interleave(planes, r, grid.width, &mut v))?;
                Samples::U8(v)
            }
            _ => {
                let mut v = vec![0u16; n];
                self.tiles(stored, want, |planes: &[u16], r| interleave(planes, r, grid.width, &mut v))?;
                Samples::U16(v)
            }
        };
        Pixels::new(grid.width as u32, grid.height as u32, samples).ok_or_else(|| FormatError::damaged("has no pixels"))
    }

    /// Calls `each` with the planes and the place of every tile that `want` touches.
    fn tiles<T: Sample + Scratch>(
        &mut self,
        Stored { file, blob, grid, codec }: Stored,
        want: Rect,
        mut each: impl FnMut(&[T], Rect),
    ) -> Result<(), FormatError> {
        let columns = want.x / grid.tile..(want.x + want.w).div_ceil(grid.tile);
        let rows = want.y / grid.tile..(want.y + want.h).div_ceil(grid.tile);
        if columns.is_empty() || rows.is_empty() {
            return Ok(());
        }
        // The index entries from the first tile wanted to the end of the last one, in one read.
        let first = rows.start * grid.across() + columns.start;
        let last = (rows.end - 1) * grid.across() + columns.end;
        let mut index = std::mem::take(&mut self.index);
        index.resize(4 * (last - first + 1), 0);
        let read = file.read_exact_at(&mut index, blob.position + 4 * first as u64);
        let offset = |n: usize| {
            let at = 4 * (n - first);
            u64::from(u32::from_le_bytes([index[at], index[at + 1], index[at + 2], index[at + 3]]))
        };
        let mut planes = std::mem::take(T::scratch(self));
        let mut packed = std::mem::take(&mut self.packed);
        let result = read.map_err(FormatError::from).and_then(|()| {
            for row in rows {
                let run = row * grid.across() + columns.start..row * grid.across() + columns.end;
                let (start, end) = (offset(run.start), offset(run.end));
                if start < grid.index_bytes() as u64 || start > end || end > blob.len {
                    return Err(FormatError::damaged("its index is damaged"));
                }
                packed.resize((end - start) as usize, 0);
                file.read_exact_at(&mut packed, blob.position + start)?;
                for (column, n) in columns.clone().zip(run) {
                    let part = offset(n).checked_sub(start)..offset(n + 1).checked_sub(start);
                    let bytes = match (part.start, part.end) {
                        (Some(a), Some(b)) => packed.get(a as usize..b as usize),
                        _ => None,
                    };
                    let bytes = bytes.ok_or_else(|| FormatError::damaged("its index is damaged"))?;
                    let r = grid.rect(column, row);
                    planes.resize(3 * r.w * r.h, T::default());
                    self.decoder.decode(codec, bytes, &mut planes, r.w)?;
                    each(&planes, r);
                }
            }
            Ok(())
        });
        self.index = index;
        self.packed = packed;
        *T::scratch(self) = planes;
        result
    }
}

/// The reader's buffer for planes of this depth.
trait Scratch: Sized {
    fn scratch(reader: &mut BlobReader) -> &mut Vec<Self>;
}

impl Scratch for u8 {
    fn scratch(reader: &mut BlobReader) -> &mut Vec<u8> {
        &mut reader.planes8
    }
}

impl Scratch for u16 {
    fn scratch(reader: &mut BlobReader) -> &mut Vec<u16> {
        &mut reader.planes16
    }
}
