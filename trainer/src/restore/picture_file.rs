//! Picture files of strangers, in and out.

use std::io::{BufReader, Cursor, Write};
use std::path::{Path, PathBuf};

use defusion_dataloader::Picture;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageFormat, ImageReader, Limits};

/// Largest picture that is read: 100 megapixels are 300 MB of 8-bit RGB and 1.2 GB as a [`Picture`].
const MAX_PIXELS: u64 = 100_000_000;
/// Longest side that is read, pixels.
const MAX_SIDE: u32 = 65_535;
/// Most that a decoder may allocate, bytes: 16-bit RGBA of [`MAX_PIXELS`].
const MAX_ALLOC: u64 = 8 * MAX_PIXELS;
/// Quality of JPEG output.
const JPEG_QUALITY: u8 = 95;

/// What can be wrong with a picture file. The text names the file.
#[derive(Debug, thiserror::Error)]
pub enum PictureFileError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no picture that can be decoded.
    #[error("cannot decode {}: {source}; PNG, JPEG, BMP and TIFF are read", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// Why.
        source: image::ImageError,
    },
    /// It makes the decoder panic.
    #[error("cannot decode {}: the decoder panicked; the file is probably damaged", path.display())]
    Panic {
        /// The file.
        path: PathBuf,
    },
    /// It is too large.
    #[error("{}: {width}x{height} pixels are more than the {MAX_PIXELS} that are read; cut it into parts", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
    },
    /// The name says no format that is written.
    #[error("{}: pictures are written as .png, .jpg or .jpeg", path.display())]
    Extension {
        /// The file.
        path: PathBuf,
    },
    /// It exists already.
    #[error("{} exists; --force overwrites it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It cannot be encoded.
    #[error("cannot encode {}: {source}", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// Why.
        source: image::ImageError,
    },
}

/// Reads a PNG, JPEG, BMP or TIFF file, told by its content. Its size is checked before anything is decoded; its EXIF
/// orientation is applied; grey becomes RGB; an alpha channel is dropped; 16 bits are kept as far as float32 does.
///
/// # Errors
/// [`PictureFileError`], which names the file.
pub fn read(path: &Path) -> Result<Picture, PictureFileError> {
    // Decoders are given files of anyone's making: one that panics must not look like our own fault.
    std::panic::catch_unwind(|| decode_file(path))
        .unwrap_or_else(|_| Err(PictureFileError::Panic { path: path.to_owned() }))
}

fn decode_file(path: &Path) -> Result<Picture, PictureFileError> {
    let io = |source| PictureFileError::Read { path: path.to_owned(), source };
    let decode = |source| PictureFileError::Decode { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(io)?;
    let mut reader = ImageReader::new(BufReader::new(file)).with_guessed_format().map_err(io)?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_ALLOC);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(decode)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(PictureFileError::TooLarge { path: path.to_owned(), width, height });
    }
    let orientation = decoder.orientation().map_err(decode)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(decode)?;
    picture.apply_orientation(orientation);
    if picture.color().has_alpha() {
        tracing::warn!("{}: the alpha channel is dropped", path.display());
    }
    Ok(to_picture(&picture))
}

fn to_picture(image: &DynamicImage) -> Picture {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let mut picture = Picture::filled(width, height, 0.0);
    let n = width * height;
    let rgb = image.to_rgb32f();
    for (i, pixel) in rgb.pixels().enumerate() {
        for (c, value) in pixel.0.iter().enumerate() {
            picture.data_mut()[c * n + i] = value.clamp(0.0, 1.0);
        }
    }
    picture
}

/// Makes sure that [`write()`] to `path` would not be refused: called before the work whose result it is.
///
/// # Errors
/// [`PictureFileError::Extension`], [`PictureFileError::Exists`].
pub fn check_writable(path: &Path, force: bool) -> Result<(), PictureFileError> {
    format_of(path)?;
    match !force && path.symlink_metadata().is_ok() {
        true => Err(PictureFileError::Exists { path: path.to_owned() }),
        false => Ok(()),
    }
}

fn format_of(path: &Path) -> Result<ImageFormat, PictureFileError> {
    match path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase).as_deref() {
        Some("png") => Ok(ImageFormat::Png),
        Some("jpg" | "jpeg") => Ok(ImageFormat::Jpeg),
        _ => Err(PictureFileError::Extension { path: path.to_owned() }),
    }
}

/// Writes 8-bit RGB as PNG or JPEG (quality 95), told by the name. Without `force` a file that exists stays as it is;
/// with it, the file is replaced as a whole or not at all.
///
/// # Errors
/// [`PictureFileError`], which names the file.
pub fn write(path: &Path, picture: &Picture, force: bool) -> Result<(), PictureFileError> {
    let encode_error = |source| PictureFileError::Encode { path: path.to_owned(), source };
    let mut bytes = Cursor::new(Vec::new());
    let (rgb, width, height) = (picture.to_rgb8(), picture.width() as u32, picture.height() as u32);
    match format_of(path)? {
        ImageFormat::Jpeg => JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY).write_image(
            &rgb,
            width,
            height,
            ExtendedColorType::Rgb8,
        ),
        _ => PngEncoder::new(&mut bytes).write_image(&rgb, width, height, ExtendedColorType::Rgb8),
    }
    .map_err(encode_error)?;
    write_bytes(path, bytes.get_ref(), force).map_err(|source| match source.kind() {
        std::io::ErrorKind::AlreadyExists => PictureFileError::Exists { path: path.to_owned() },
        _ => PictureFileError::Write { path: path.to_owned(), source },
    })
}

/// Through a file beside it; `create_new` settles who was first where two write at once.
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
