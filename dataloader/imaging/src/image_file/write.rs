//! Writing image files.

use std::io::Cursor;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::tiff::TiffEncoder;
use image::{ExtendedColorType, ImageEncoder};

use super::{EncodeError, ImageFileError};
use crate::Image;

/// Quality of JPEG output.
const JPEG_QUALITY: u8 = 95;

/// A format that images are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageEncoding {
    /// Lossless.
    Png,
    /// Lossy, at quality 95.
    Jpeg,
    /// Lossless, uncompressed.
    Tiff,
}

impl ImageEncoding {
    /// Returns the format that a file's name asks for: `.png`, `.jpg`, `.jpeg`, `.tif` or `.tiff`, in letters of any
    /// case.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "png" => Some(Self::Png),
            "jpg" | "jpeg" => Some(Self::Jpeg),
            "tif" | "tiff" => Some(Self::Tiff),
            _ => None,
        }
    }
}

/// Encodes an image as 8-bit RGB, clamped and rounded to nearest.
///
/// # Errors
/// [`EncodeError`], for instance if the image has no pixels or more of them than the format can hold.
pub fn encode_image(image: &Image, encoding: ImageEncoding) -> Result<Vec<u8>, EncodeError> {
    let (width, height) = (image.width() as u32, image.height() as u32);
    encode_samples(&image.to_rgb8(), [width, height], ExtendedColorType::Rgb8, None, encoding)
}

/// Encodes samples of `colour`, in the machine's byte order, with a colour profile.
pub(super) fn encode_samples(
    samples: &[u8],
    [width, height]: [u32; 2],
    colour: ExtendedColorType,
    icc: Option<&[u8]>,
    encoding: ImageEncoding,
) -> Result<Vec<u8>, EncodeError> {
    fn write(
        mut encoder: impl ImageEncoder,
        (samples, [width, height], colour): (&[u8], [u32; 2], ExtendedColorType),
        icc: Option<&[u8]>,
    ) -> image::ImageResult<()> {
        if let Some(icc) = icc
            && let Err(refused) = encoder.set_icc_profile(icc.to_owned())
        {
            tracing::warn!("the colour profile is dropped: {refused}");
        }
        encoder.write_image(samples, width, height, colour)
    }
    let mut bytes = Cursor::new(Vec::new());
    let image = (samples, [width, height], colour);
    match encoding {
        ImageEncoding::Jpeg => write(JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY), image, icc),
        ImageEncoding::Png => write(PngEncoder::new(&mut bytes), image, icc),
        ImageEncoding::Tiff => write(TiffEncoder::new(&mut bytes), image, icc),
    }?;
    Ok(bytes.into_inner())
}

/// Makes sure that [`write_image`] to `path` would not be refused: called before the work whose result it is.
///
/// # Errors
/// [`ImageFileError::Extension`], [`ImageFileError::Exists`].
pub fn check_writable(path: &Path, force: bool) -> Result<(), ImageFileError> {
    encoding_of(path)?;
    match !force && path.symlink_metadata().is_ok() {
        true => Err(ImageFileError::Exists { path: path.to_owned() }),
        false => Ok(()),
    }
}

/// Writes an image as the file's name says, PNG, TIFF, or JPEG of quality 95: as a whole or not at all, even if the program
/// is killed meanwhile. Without `force` a file that exists stays as it is.
///
/// # Errors
/// [`ImageFileError::Extension`], [`ImageFileError::Encode`], [`ImageFileError::Exists`], [`ImageFileError::Write`].
pub fn write_image(path: &Path, image: &Image, force: bool) -> Result<(), ImageFileError> {
    write_image_as(path, image, encoding_of(path)?, force)
}

/// Writes an image as [`write_image`] does, in a format that the name does not decide.
///
/// # Errors
/// [`ImageFileError::Encode`], [`ImageFileError::Exists`], [`ImageFileError::Write`].
pub fn write_image_as(path: &Path, image: &Image, encoding: ImageEncoding, force: bool) -> Result<(), ImageFileError> {
    write_encoded(path, encode_image(image, encoding), force)
}

/// Writes an encoded image.
pub(super) fn write_encoded(
    path: &Path,
    encoded: Result<Vec<u8>, EncodeError>,
    force: bool,
) -> Result<(), ImageFileError> {
    let bytes = encoded.map_err(|source| ImageFileError::Encode { path: path.to_owned(), source })?;
    write_bytes(path, &bytes, force).map_err(|source| match source.kind() {
        std::io::ErrorKind::AlreadyExists => ImageFileError::Exists { path: path.to_owned() },
        _ => ImageFileError::Write { path: path.to_owned(), source },
    })
}

pub(super) fn encoding_of(path: &Path) -> Result<ImageEncoding, ImageFileError> {
    ImageEncoding::of(path).ok_or_else(|| ImageFileError::Extension { path: path.to_owned() })
}

/// Writes through a file beside the target, which gets its name at the end; a link, which never replaces, settles who was
/// first if two write at once.
fn write_bytes(path: &Path, bytes: &[u8], force: bool) -> std::io::Result<()> {
    static PARTS: AtomicU64 = AtomicU64::new(0);
    let number = PARTS.fetch_add(1, Ordering::Relaxed);
    let part = path.with_file_name(format!(".defusion-{}-{number}.part", std::process::id()));
    let name = || match force {
        true => std::fs::rename(&part, path),
        false => std::fs::hard_link(&part, path).or_else(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => Err(error),
            _ if path.symlink_metadata().is_ok() => Err(std::io::ErrorKind::AlreadyExists.into()),
            // Not every file system has links.
            _ => std::fs::rename(&part, path),
        }),
    };
    let written = std::fs::write(&part, bytes).and_then(|()| name());
    // It may have another name by now, or never have been: the error on its way says more.
    let _ = std::fs::remove_file(&part);
    written
}
