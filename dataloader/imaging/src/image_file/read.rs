//! Reading image files.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::tiff::Colours;
use super::{DecodeError, ImageFileError, MAX_PIXELS, jpeg, tiff};
use crate::Image;
use crate::pixels::{Pixels, Samples};

/// Longest JPEG file that is read, bytes: it is read whole, before its size in pixels is known.
const MAX_JPEG_BYTES: u64 = 1 << 30;

/// What the header of an image file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageHeader {
    /// Pixels across, once upright.
    pub width: u32,
    /// Pixels down, once upright.
    pub height: u32,
    /// Bits a sample: 8 or 16.
    pub bits: u8,
}

/// Reads the size and the depth of an image file; its pixels are not decoded.
///
/// # Errors
/// [`ImageFileError::Read`], [`ImageFileError::Decode`].
pub fn read_header(path: &Path) -> Result<ImageHeader, ImageFileError> {
    from_file(path, |file| {
        let (mut decoder, _) = open(file, Limits::default())?;
        let bits = bits(decoder.color_type())?;
        let (width, height) = upright_size(&mut decoder)?;
        Ok(ImageHeader { width, height, bits })
    })
}

/// Reads an image file of at most `max_pixels` pixels at the depth of its samples.
///
/// # Errors
/// [`ImageFileError::Read`]; [`ImageFileError::TooLarge`]; [`ImageFileError::Decode`], also if the samples are neither 8
/// nor 16 bits wide.
pub fn read_pixels(path: &Path, max_pixels: u64) -> Result<Pixels, ImageFileError> {
    from_file(path, |file| to_pixels(decode(file, max_pixels)?))
}

/// Decodes the bytes of an image file as [`read_pixels`] does.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_pixels(bytes: &[u8], max_pixels: u64) -> Result<Pixels, DecodeError> {
    guarded(|| to_pixels(decode(Cursor::new(bytes), max_pixels)?))
}

/// Reads an image file of at most [`MAX_PIXELS`] pixels as RGB in [0, 1], `[3, height, width]`. Samples of 16 bits are
/// kept as far as float32 does; floating-point samples are clamped.
///
/// # Errors
/// [`ImageFileError::Read`], [`ImageFileError::TooLarge`], [`ImageFileError::Decode`].
pub fn read_image(path: &Path) -> Result<Image, ImageFileError> {
    let decoded = read_dynamic(path)?;
    if decoded.color().has_alpha() {
        tracing::warn!("{}: the alpha channel is dropped", path.display());
    }
    Ok(to_image(&decoded))
}

/// Reads an image file upright, its samples as they are.
pub(crate) fn read_dynamic(path: &Path) -> Result<DynamicImage, ImageFileError> {
    from_file(path, |file| decode(file, MAX_PIXELS))
}

pub(super) fn from_file<T>(
    path: &Path,
    read: impl FnOnce(BufReader<File>) -> Result<T, DecodeError>,
) -> Result<T, ImageFileError> {
    let file = File::open(path).map_err(|e| ImageFileError::of(path, e.into()))?;
    guarded(|| read(BufReader::new(file))).map_err(|e| ImageFileError::of(path, e))
}

/// Decoders are given files of anyone's making: one that panics must not end the program.
fn guarded<T>(decode: impl FnOnce() -> Result<T, DecodeError>) -> Result<T, DecodeError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(decode)).unwrap_or(Err(DecodeError::Panicked))
}

/// The decoder of a file, and what its samples mean if they are no colours. A JPEG file is looked through to its end: it is
/// in memory then anyway.
fn open<'a>(
    input: impl BufRead + Seek + 'a,
    limits: Limits,
) -> Result<(Box<dyn ImageDecoder + 'a>, Option<Colours>), DecodeError> {
    let reader = ImageReader::new(input).with_guessed_format()?;
    let format = reader.format();
    let mut input = reader.into_inner();
    match format {
        Some(ImageFormat::Jpeg) => {
            let mut jpeg = Vec::new();
            input.take(MAX_JPEG_BYTES).read_to_end(&mut jpeg)?;
            if !jpeg::is_whole(&jpeg) {
                return Err(DecodeError::Truncated);
            }
            Ok((decoder(Cursor::new(jpeg), ImageFormat::Jpeg, limits)?, None))
        }
        Some(ImageFormat::Tiff) => match tiff::relabelled(&mut input).map_err(ended)? {
            Some((file, colours)) => Ok((decoder(Cursor::new(file), ImageFormat::Tiff, limits)?, Some(colours))),
            None => Ok((decoder(input, ImageFormat::Tiff, limits)?, None)),
        },
        Some(format) => Ok((decoder(input, format, limits)?, None)),
        None if input.seek(SeekFrom::End(0))? == 0 => Err(DecodeError::NoBytes),
        None => Err(DecodeError::Unknown),
    }
}

fn decoder<'a>(
    input: impl BufRead + Seek + 'a,
    format: ImageFormat,
    limits: Limits,
) -> Result<Box<dyn ImageDecoder + 'a>, DecodeError> {
    let mut reader = ImageReader::with_format(input, format);
    reader.limits(limits);
    Ok(Box::new(reader.into_decoder().map_err(DecodeError::Format)?))
}

/// An end of the file where there is more to come is the file's fault, not the disk's.
fn ended(error: std::io::Error) -> DecodeError {
    match error.kind() {
        ErrorKind::UnexpectedEof => DecodeError::Truncated,
        _ => error.into(),
    }
}

/// The upright image of a file; refused before any pixel is decoded if there are too many of them.
fn decode(input: impl BufRead + Seek, max_pixels: u64) -> Result<DynamicImage, DecodeError> {
    Ok(decode_with_icc(input, max_pixels)?.0)
}

/// The upright image of a file as [`decode`] gives it, and its colour profile, if it has one.
pub(super) fn decode_with_icc(
    input: impl BufRead + Seek,
    max_pixels: u64,
) -> Result<(DynamicImage, Option<Vec<u8>>), DecodeError> {
    let mut limits = Limits::default();
    // RGBA at 16 bits, twice: what a decoder may need besides the image.
    limits.max_alloc = Some(max_pixels.saturating_mul(16).max(1 << 20));
    let (mut decoder, colours) = open(input, limits)?;
    let (width, height) = upright_size(&mut decoder)?;
    if u64::from(width) * u64::from(height) > max_pixels {
        return Err(DecodeError::TooLarge { width, height, limit: max_pixels });
    }
    let orientation = orientation(&mut decoder);
    // A profile that cannot be read says nothing.
    let icc = decoder.icc_profile().ok().flatten();
    let mut image = DynamicImage::from_decoder(decoder).map_err(|e| match e {
        image::ImageError::IoError(e) => ended(e),
        other => DecodeError::Format(other),
    })?;
    if let Some(colours) = colours {
        image = colours.apply(image);
    }
    image.apply_orientation(orientation);
    Ok((image, icc))
}

/// Width and height after the turn that the EXIF orientation asks for.
fn upright_size(decoder: &mut impl ImageDecoder) -> Result<(u32, u32), DecodeError> {
    use Orientation as O;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(DecodeError::Empty);
    }
    Ok(match orientation(decoder) {
        O::Rotate90 | O::Rotate270 | O::Rotate90FlipH | O::Rotate270FlipH => (height, width),
        O::NoTransforms | O::Rotate180 | O::FlipHorizontal | O::FlipVertical => (width, height),
    })
}

/// What the file says of the way its camera was held. EXIF that cannot be read says nothing, as everywhere else.
fn orientation(decoder: &mut impl ImageDecoder) -> Orientation {
    decoder.orientation().unwrap_or(Orientation::NoTransforms)
}

/// Bits of a sample that [`Pixels`] takes.
fn bits(color: ColorType) -> Result<u8, DecodeError> {
    use ColorType as C;
    match color {
        C::L8 | C::La8 | C::Rgb8 | C::Rgba8 => Ok(8),
        C::L16 | C::La16 | C::Rgb16 | C::Rgba16 => Ok(16),
        other => Err(DecodeError::SampleType(format!("{other:?}"))),
    }
}

fn to_pixels(image: DynamicImage) -> Result<Pixels, DecodeError> {
    let (width, height) = (image.width(), image.height());
    let samples = match bits(image.color())? {
        8 => Samples::U8(image.into_rgb8().into_raw()),
        _ => Samples::U16(image.into_rgb16().into_raw()),
    };
    Pixels::new(width, height, samples).ok_or(DecodeError::Empty)
}

/// The colours of a decoded image; in bands of rows, so that a large image takes no memory beside the result.
pub(super) fn to_image(decoded: &DynamicImage) -> Image {
    const BAND: u32 = 64;
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    let mut image = Image::filled(width, height, 0.0);
    let n = width * height;
    for top in (0..decoded.height()).step_by(BAND as usize) {
        let band = decoded.crop_imm(0, top, decoded.width(), BAND).into_rgb32f();
        for (i, pixel) in (top as usize * width..).zip(band.pixels()) {
            for (c, value) in pixel.0.iter().enumerate() {
                image.data_mut()[c * n + i] = value.clamp(0.0, 1.0);
            }
        }
    }
    image
}
