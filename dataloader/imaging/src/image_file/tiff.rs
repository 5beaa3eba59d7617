//! TIFF files whose samples are not colours yet: numbers of a palette, or luma and chroma.
//!
//! The decoder does not take these; it does take the same samples if they are called grey or RGB. So the file's copy in
//! memory is relabelled, decoded, and its samples are turned into colours here (TIFF 6.0, sections 5 and 21).

use std::io::{Read, Seek, SeekFrom};

use image::{DynamicImage, RgbImage};

/// Longest file that is relabelled, bytes: it is read whole.
const MAX_BYTES: u64 = 1 << 30;
const BITS_PER_SAMPLE: u16 = 258;
const COMPRESSION: u16 = 259;
const PHOTOMETRIC: u16 = 262;
const COLOUR_MAP: u16 = 320;
const COEFFICIENTS: u16 = 529;
const SUBSAMPLING: u16 = 530;
const REFERENCE_BLACK_WHITE: u16 = 532;
const JPEG: u32 = 7;

/// What samples mean.
pub(super) enum Colours {
    /// Numbers of colours.
    Palette(Vec<[u8; 3]>),
    /// Luma and chroma.
    YCbCr {
        /// Shares of red, green and blue in luma.
        luma: [f32; 3],
        /// Codes of black and white, of each sample.
        black_white: [f32; 6],
    },
}

/// The file with other words for its samples, and what they mean; `None` for a file that the decoder takes as it is, or that
/// nobody here can read. The input stands at its start before and after.
pub(super) fn relabelled(input: &mut (impl Read + Seek)) -> std::io::Result<Option<(Vec<u8>, Colours)>> {
    let start = input.stream_position()?;
    let found = directory(input)?.filter(|d| matches!(d.first(PHOTOMETRIC), Some(3 | 6)));
    input.seek(SeekFrom::Start(start))?;
    let Some(directory) = found else { return Ok(None) };
    let mut bytes = Vec::new();
    input.take(MAX_BYTES).read_to_end(&mut bytes)?;
    input.seek(SeekFrom::Start(start))?;
    Ok(directory.colours(&bytes).and_then(|(colours, label)| {
        let at = directory.entry(PHOTOMETRIC)?.value_at;
        let label = if directory.little { u16::to_le_bytes(label) } else { u16::to_be_bytes(label) };
        bytes.get_mut(at..at + 2)?.copy_from_slice(&label);
        Some((bytes, colours))
    }))
}

impl Colours {
    /// Turns decoded samples into colours.
    pub(super) fn apply(&self, samples: DynamicImage) -> DynamicImage {
        let (width, height) = (samples.width(), samples.height());
        let rgb: Vec<u8> = match self {
            Self::Palette(colours) => {
                let colour = |n: &u8| colours.get(usize::from(*n)).copied().unwrap_or_default();
                samples.into_luma8().into_raw().iter().flat_map(colour).collect()
            }
            Self::YCbCr { luma: [r, g, b], black_white: [y0, y1, b0, b1, r0, r1] } => {
                let byte = |v: f32| (v + 0.5).clamp(0.0, 255.0) as u8;
                let colour = |code: &[u8]| {
                    let [y, cb, cr] = [code[0], code[1], code[2]].map(f32::from);
                    let y = (y - y0) * 255.0 / (y1 - y0);
                    let (cb, cr) = ((cb - b0) * 127.0 / (b1 - b0), (cr - r0) * 127.0 / (r1 - r0));
                    let (red, blue) = (y + cr * (2.0 - 2.0 * r), y + cb * (2.0 - 2.0 * b));
                    [byte(red), byte((y - r * red - b * blue) / g), byte(blue)]
                };
                samples.into_rgb8().into_raw().chunks_exact(3).flat_map(colour).collect()
            }
        };
        RgbImage::from_raw(width, height, rgb).map_or_else(DynamicImage::default, DynamicImage::ImageRgb8)
    }
}

/// The first image's directory.
struct Directory {
    little: bool,
    entries: Vec<Entry>,
}

struct Entry {
    tag: u16,
    kind: u16,
    count: u32,
    /// Where in the file the value is, or its offset if it is longer than 4 bytes.
    value_at: usize,
    value: [u8; 4],
}

/// Reads the directory of a classic TIFF file; `None` for a BigTIFF file, or something else.
fn directory(input: &mut (impl Read + Seek)) -> std::io::Result<Option<Directory>> {
    let mut head = [0; 8];
    input.read_exact(&mut head)?;
    let little = head.starts_with(b"II*\0");
    if !little && !head.starts_with(b"MM\0*") {
        return Ok(None);
    }
    let mut directory = Directory { little, entries: Vec::new() };
    let offset = directory.u32(&head[4..]);
    input.seek(SeekFrom::Start(offset.into()))?;
    let mut count = [0; 2];
    input.read_exact(&mut count)?;
    for n in 0..usize::from(directory.u16(&count)) {
        let mut entry = [0; 12];
        input.read_exact(&mut entry)?;
        directory.entries.push(Entry {
            tag: directory.u16(&entry),
            kind: directory.u16(&entry[2..]),
            count: directory.u32(&entry[4..]),
            value_at: offset as usize + 2 + 12 * n + 8,
            value: [entry[8], entry[9], entry[10], entry[11]],
        });
    }
    Ok(Some(directory))
}

impl Directory {
    fn u16(&self, bytes: &[u8]) -> u16 {
        let bytes = [bytes[0], bytes[1]];
        if self.little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) }
    }

    fn u32(&self, bytes: &[u8]) -> u32 {
        let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
        if self.little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }
    }

    fn entry(&self, tag: u16) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.tag == tag)
    }

    /// The first value of an entry that is in the entry itself.
    fn first(&self, tag: u16) -> Option<u32> {
        let entry = self.entry(tag)?;
        match entry.kind {
            3 => Some(self.u16(&entry.value).into()),
            4 => Some(self.u32(&entry.value)),
            _ => None,
        }
    }

    /// The values of an entry: whole numbers or fractions.
    fn values(&self, tag: u16, file: &[u8]) -> Option<Vec<f32>> {
        let entry = self.entry(tag)?;
        let size = match entry.kind {
            3 => 2,
            5 => 8,
            _ => return None,
        };
        let bytes = usize::try_from(entry.count).ok()?.checked_mul(size)?;
        let stored = match bytes {
            0..=4 => &entry.value[..bytes],
            _ => file.get(self.u32(&entry.value) as usize..)?.get(..bytes)?,
        };
        let value = |v: &[u8]| match size {
            2 => f32::from(self.u16(v)),
            _ => self.u32(v) as f32 / self.u32(&v[4..]) as f32,
        };
        Some(stored.chunks_exact(size).map(value).collect())
    }

    /// What the samples mean, and what the decoder shall take them for.
    fn colours(&self, file: &[u8]) -> Option<(Colours, u16)> {
        let (grey, rgb) = (1, 2);
        if self.values(BITS_PER_SAMPLE, file)?.iter().any(|bits| *bits != 8.0) {
            return None;
        }
        if self.first(PHOTOMETRIC) == Some(3) {
            let map = self.values(COLOUR_MAP, file).filter(|map| map.len() == 3 * 256)?;
            // 16 bits a value, by its upper half; old writers fill the lower half only.
            let scale = if map.iter().any(|v| *v > 255.0) { 256.0 } else { 1.0 };
            let colour = |n: usize| [map[n], map[n + 256], map[n + 512]].map(|v| (v / scale) as u8);
            return Some((Colours::Palette((0..256).map(colour).collect()), grey));
        }
        // Chroma of fewer samples is laid out in another way, unless JPEG has its own.
        let whole = self.values(SUBSAMPLING, file).is_some_and(|s| s == [1.0, 1.0]);
        if !whole && self.first(COMPRESSION) != Some(JPEG) {
            return None;
        }
        let values = |tag, usual: &[f32]| self.values(tag, file).unwrap_or_else(|| usual.to_vec());
        let luma = values(COEFFICIENTS, &[0.299, 0.587, 0.114]).try_into().ok()?;
        let black_white = values(REFERENCE_BLACK_WHITE, &[0.0, 255.0, 128.0, 255.0, 128.0, 255.0]).try_into().ok()?;
        Some((Colours::YCbCr { luma, black_white }, rgb))
    }
}
