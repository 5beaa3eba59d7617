//! Writing image files.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
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
}

impl ImageEncoding {
    /// Returns the format that a file's name asks for: `.png`, `.jpg` or `.jpeg`, in letters of any case.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "png" => Some(Self::Png),
            "jpg" | "jpeg" => Some(Self::Jpeg),
            _ => None,
        }
    }
}

/// Encodes an image as 8-bit RGB, clamped and rounded to nearest.
///
/// # Errors
/// [`EncodeError`], for instance if the image has no pixels or more of them than the format can hold.
pub fn encode_image(image: &Image, encoding: ImageEncoding) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Cursor::new(Vec::new());
    let (rgb, width, height) = (image.to_rgb8(), image.width() as u32, image.height() as u32);
    match encoding {
        ImageEncoding::Jpeg => JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY).write_image(
            &rgb,
            width,
            height,
            ExtendedColorType::Rgb8,
        ),
        ImageEncoding::Png => PngEncoder::new(&mut bytes).write_image(&rgb, width, height, ExtendedColorType::Rgb8),
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

/// Writes an image as the file's name says, PNG or JPEG of quality 95. Without `force` a file that exists stays as it is;
/// with it, the file is replaced as a whole or not at all.
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
    let bytes =
        encode_image(image, encoding).map_err(|source| ImageFileError::Encode { path: path.to_owned(), source })?;
    write_bytes(path, &bytes, force).map_err(|source| match source.kind() {
        std::io::ErrorKind::AlreadyExists => ImageFileError::Exists { path: path.to_owned() },
        _ => ImageFileError::Write { path: path.to_owned(), source },
    })
}

fn encoding_of(path: &Path) -> Result<ImageEncoding, ImageFileError> {
    ImageEncoding::of(path).ok_or_else(|| ImageFileError::Extension { path: path.to_owned() })
}

/// Writes through a file beside the target; `create_new` settles who was first if two write at once.
fn write_bytes(path: &Path, bytes: &[u8], force: bool) -> std::io::Result<()> {
    if !force {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path)?;
        return file.write_all(bytes).inspect_err(|_| {
            // Best effort: the error on its way says more.
            let _ = std::fs::remove_file(path);
        });
    }
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, path)).inspect_err(|_| {
        let _ = std::fs::remove_file(&part);
    })
}
