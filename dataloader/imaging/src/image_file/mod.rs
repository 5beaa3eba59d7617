//! Image files of anyone's making, in and out: the only decoder and the only encoder of this program.
//!
//! One rule holds wherever an image file is read. PNG, JPEG, WebP, BMP and TIFF are read, told by their content; of an
//! animation or a file of several pages, the first image. TIFF may hold grey, RGB or CMYK of 8 or 16 bits, a palette or YCbCr
//! of 8 bits. The size is checked before any pixel is decoded, a decoder that panics is an error, and a file that ends before
//! its image does is refused, a JPEG file that lacks only its last marker too: no decoder can tell it from one that lacks
//! its last rows. The image is turned upright as its EXIF orientation says; colour profiles are ignored; an alpha channel is
//! dropped and the colours below it are kept as stored; grey is repeated in three channels.

mod error;
mod jpeg;
mod photograph;
mod read;
mod tiff;
mod write;

pub use error::{DecodeError, EncodeError, ImageFileError};
pub use photograph::{Photograph, read_photograph, write_photograph};
pub(crate) use read::read_dynamic;
pub use read::{ImageHeader, decode_pixels, read_header, read_image, read_pixels};
pub use write::{ImageEncoding, check_writable, encode_image, write_image, write_image_as};

/// Largest image that [`read_image`] takes: 100 megapixels are 300 MB of 8-bit RGB and 1.2 GB as an
/// [`Image`](crate::Image).
pub const MAX_PIXELS: u64 = 100_000_000;
