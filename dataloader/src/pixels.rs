//! Decoded pictures at the depth of their file.

use std::io::{BufRead, BufReader, Cursor, Seek};
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageReader, Limits};

/// A decoded colour picture. What a shard stores and gives back bit for bit.
///
/// The rule for what a file's samples become: 8-bit and 16-bit files keep their depth; grey is repeated in three
/// channels; an alpha channel is dropped and the colours below it are kept as stored; colour profiles and EXIF
/// orientation are ignored, as the published evaluation codes do; float files are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels {
    width: u32,
    height: u32,
    samples: Samples,
}

/// Interleaved RGB, row after row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Samples {
    /// 8 bits a sample; white is 255.
    U8(Vec<u8>),
    /// 16 bits a sample; white is 65535.
    U16(Vec<u16>),
}

impl Pixels {
    /// From interleaved RGB; `None` unless there are `3 * width * height` samples and at least one pixel.
    pub fn new(width: u32, height: u32, samples: Samples) -> Option<Self> {
        let len = match &samples {
            Samples::U8(v) => v.len(),
            Samples::U16(v) => v.len(),
        };
        (len > 0 && len as u64 == 3 * u64::from(width) * u64::from(height)).then_some(Self { width, height, samples })
    }

    /// Pixels across.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Pixels down.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The samples.
    pub fn samples(&self) -> &Samples {
        &self.samples
    }

    /// The centre part of `width` x `height`; `None` where the picture is smaller.
    pub fn centre_crop(&self, width: u32, height: u32) -> Option<Self> {
        let x = self.width.checked_sub(width)? as usize / 2;
        let y = self.height.checked_sub(height)? as usize / 2;
        let (w, h, stride) = (width as usize, height as usize, self.width as usize);
        fn cut<T: Copy>(v: &[T], [x, y, w, h, stride]: [usize; 5]) -> Vec<T> {
            (y..y + h).flat_map(|row| v[3 * (row * stride + x)..][..3 * w].iter().copied()).collect()
        }
        let part = [x, y, w, h, stride];
        let samples = match &self.samples {
            Samples::U8(v) => Samples::U8(cut(v, part)),
            Samples::U16(v) => Samples::U16(cut(v, part)),
        };
        Self::new(width, height, samples)
    }
}

/// What the header of an encoded picture says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// 8 or 16 bits a sample.
    pub bits: u8,
}

/// Size and depth of an image file; its pixels are not decoded.
///
/// # Errors
/// The decoder's words.
pub fn read_header(path: &Path) -> Result<Header, String> {
    let file = std::fs::File::open(path).map_err(|e| e.to_string())?;
    guarded(|| {
        let reader = ImageReader::new(BufReader::new(file)).with_guessed_format().map_err(|e| e.to_string())?;
        let decoder = reader.into_decoder().map_err(|e| e.to_string())?;
        header(&decoder)
    })
}

/// Decoders are given files of anyone's making: one that panics must not end the whole preparation.
fn guarded<T>(decode: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err("the decoder panicked".into()))
}

fn header(decoder: &impl ImageDecoder) -> Result<Header, String> {
    use image::ColorType as C;
    let (width, height) = decoder.dimensions();
    let bits = match decoder.color_type() {
        C::L8 | C::La8 | C::Rgb8 | C::Rgba8 => 8,
        C::L16 | C::La16 | C::Rgb16 | C::Rgba16 => 16,
        other => return Err(format!("samples of type {other:?} are not supported")),
    };
    if width == 0 || height == 0 {
        return Err("has no pixels".into());
    }
    Ok(Header { width, height, bits })
}

/// Decodes the bytes of an image file of at most `max_pixels` pixels.
///
/// # Errors
/// The decoder's words; a picture of more pixels is refused before any of them is decoded.
pub fn decode(bytes: &[u8], max_pixels: u64) -> Result<Pixels, String> {
    guarded(|| decode_from(Cursor::new(bytes), max_pixels))
}

/// As [`decode`], from a file.
///
/// # Errors
/// As [`decode`].
pub fn decode_file(path: &Path, max_pixels: u64) -> Result<Pixels, String> {
    let file = std::fs::File::open(path).map_err(|e| e.to_string())?;
    guarded(|| decode_from(BufReader::new(file), max_pixels))
}

fn decode_from(input: impl BufRead + Seek, max_pixels: u64) -> Result<Pixels, String> {
    let mut reader = ImageReader::new(input).with_guessed_format().map_err(|e| e.to_string())?;
    let mut limits = Limits::default();
    // RGBA at 16 bits, twice: what a decoder may need besides the picture.
    limits.max_alloc = Some(max_pixels.saturating_mul(16).max(1 << 20));
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|e| e.to_string())?;
    let Header { width, height, bits } = header(&decoder)?;
    if u64::from(width) * u64::from(height) > max_pixels {
        return Err(format!("is {width}x{height}, more than the {max_pixels} pixels allowed"));
    }
    let decoded = DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?;
    let samples = match bits {
        8 => Samples::U8(decoded.into_rgb8().into_raw()),
        _ => Samples::U16(decoded.into_rgb16().into_raw()),
    };
    Pixels::new(width, height, samples).ok_or_else(|| "the decoder gave the wrong number of samples".into())
}
