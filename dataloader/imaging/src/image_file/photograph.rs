//! Photographs that come back as they went: the colours as an [`Image`], and beside it what the file holds besides.

use std::path::Path;

use image::{DynamicImage, ExtendedColorType};

use super::read::{decode_with_icc, from_file, to_image};
use super::write::{encode_samples, encoding_of, write_encoded};
use super::{EncodeError, ImageEncoding, ImageFileError, MAX_PIXELS};
use crate::Image;

/// An image file's colours, and what is to be written back beside them.
#[derive(Clone, Debug, PartialEq)]
pub struct Photograph {
    /// The colours, upright; grey is repeated in three channels.
    pub image: Image,
    /// The alpha channel, a value a pixel: 65535 is opaque; values of 8-bit files are multiples of 257.
    pub alpha: Option<Vec<u16>>,
    /// Bits a channel: 8, or 16 if the file holds more than 8.
    pub bits: u8,
    /// Whether the file has one channel of colour.
    pub grey: bool,
    /// The colour profile (ICC), if it describes the colours as they are here, grey or RGB.
    pub icc: Option<Vec<u8>>,
}

impl Photograph {
    /// Names what a format cannot hold of the photograph.
    pub fn losses(&self, encoding: ImageEncoding) -> Vec<&'static str> {
        let jpeg = encoding == ImageEncoding::Jpeg;
        let losses =
            [(self.alpha.is_some(), "the alpha channel"), (self.bits > 8, "the depth of more than 8 bits a channel")];
        losses.into_iter().filter(|(lost, _)| *lost && jpeg).map(|(_, what)| what).collect()
    }
}

/// Reads an image file as [`read_image`](super::read_image) does, with its alpha channel, depth and colour profile.
///
/// # Errors
/// [`ImageFileError::Read`], [`ImageFileError::TooLarge`], [`ImageFileError::Decode`].
pub fn read_photograph(path: &Path) -> Result<Photograph, ImageFileError> {
    from_file(path, |file| {
        let (decoded, icc) = decode_with_icc(file, MAX_PIXELS)?;
        let color = decoded.color();
        let grey = !color.has_color();
        Ok(Photograph {
            image: to_image(&decoded),
            alpha: alpha(&decoded),
            bits: if color.bytes_per_pixel() == color.channel_count() { 8 } else { 16 },
            grey,
            icc: icc.filter(|icc| icc.get(16..20) == Some(if grey { b"GRAY" } else { b"RGB " })),
        })
    })
}

fn alpha(decoded: &DynamicImage) -> Option<Vec<u16>> {
    let wide = |v: u8| u16::from(v) * 257;
    Some(match decoded {
        DynamicImage::ImageLumaA8(image) => image.pixels().map(|p| wide(p.0[1])).collect(),
        DynamicImage::ImageRgba8(image) => image.pixels().map(|p| wide(p.0[3])).collect(),
        DynamicImage::ImageLumaA16(image) => image.pixels().map(|p| p.0[1]).collect(),
        DynamicImage::ImageRgba16(image) => image.pixels().map(|p| p.0[3]).collect(),
        DynamicImage::ImageRgba32F(image) => image.pixels().map(|p| to_u16(p.0[3])).collect(),
        _ => return None,
    })
}

/// Writes a photograph as the file's name says, PNG, TIFF, or JPEG of quality 95, with all that the format can hold
/// ([`Photograph::losses`]): as a whole or not at all. Without `force` a file that exists stays as it is.
///
/// # Errors
/// [`ImageFileError::Extension`], [`ImageFileError::Encode`], [`ImageFileError::Exists`], [`ImageFileError::Write`].
pub fn write_photograph(path: &Path, photograph: &Photograph, force: bool) -> Result<(), ImageFileError> {
    let encoding = encoding_of(path)?;
    write_encoded(path, encode(photograph, encoding), force)
}

fn encode(photograph: &Photograph, encoding: ImageEncoding) -> Result<Vec<u8>, EncodeError> {
    let (image, jpeg) = (&photograph.image, encoding == ImageEncoding::Jpeg);
    let alpha = photograph.alpha.as_deref().filter(|alpha| !jpeg && alpha.len() == image.plane(0).len());
    // TIFF's encoder knows no grey with alpha.
    let grey = photograph.grey && !(alpha.is_some() && encoding == ImageEncoding::Tiff);
    let deep = photograph.bits > 8 && !jpeg;
    use ExtendedColorType as C;
    let colour = match (grey, alpha.is_some(), deep) {
        (true, false, false) => C::L8,
        (true, false, true) => C::L16,
        (true, true, false) => C::La8,
        (true, true, true) => C::La16,
        (false, false, false) => C::Rgb8,
        (false, false, true) => C::Rgb16,
        (false, true, false) => C::Rgba8,
        (false, true, true) => C::Rgba16,
    };
    let samples = match deep {
        true => samples(photograph.grey, grey, image, alpha, |v| to_u16(v).to_ne_bytes(), u16::to_ne_bytes),
        false => samples(photograph.grey, grey, image, alpha, |v| [to_u8(v)], |a| [(a / 257) as u8]),
    };
    // A profile of grey does not suit three channels.
    let icc = photograph.icc.as_deref().filter(|_| grey == photograph.grey);
    encode_samples(&samples, [image.width() as u32, image.height() as u32], colour, icc, encoding)
}

/// Interleaved samples. Of an image that `is_grey` all channels are its luma (BT.601), `one` or three of them.
fn samples<const N: usize>(
    is_grey: bool,
    one: bool,
    image: &Image,
    alpha: Option<&[u16]>,
    colour: impl Fn(f32) -> [u8; N],
    opacity: impl Fn(u16) -> [u8; N],
) -> Vec<u8> {
    let (red, green, blue) = (image.plane(0), image.plane(1), image.plane(2));
    let channels = if one { 1 } else { 3 } + usize::from(alpha.is_some());
    let mut samples = Vec::with_capacity(N * channels * red.len());
    for i in 0..red.len() {
        let mut rgb = [red[i], green[i], blue[i]];
        if is_grey {
            // What is grey already stays as it is, whatever the sum of the weights rounds to.
            let [r, g, b] = rgb;
            rgb = [r + 0.587 * (g - r) + 0.114 * (b - r); 3];
        }
        rgb.iter().take(if one { 1 } else { 3 }).for_each(|v| samples.extend(colour(*v)));
        samples.extend(alpha.into_iter().flat_map(|alpha| opacity(alpha[i])));
    }
    samples
}

/// 8 bits of a value in [0, 1], rounded to nearest.
fn to_u8(v: f32) -> u8 {
    (v.clamp(0.0, 1.0) * 255.0 + 0.5) as u8
}

/// 16 bits of a value in [0, 1], rounded to nearest.
fn to_u16(v: f32) -> u16 {
    (v.clamp(0.0, 1.0) * 65535.0 + 0.5) as u16
}

#[cfg(test)]
mod tests {
    use image::{ImageBuffer, ImageFormat, Luma, LumaA, Rgb, Rgba};

    use super::*;

    fn colours(width: u32, height: u32) -> impl Iterator<Item = u16> {
        (0..width * height * 4).map(|i| (i.wrapping_mul(40_503) >> 3) as u16)
    }

    /// One image of each kind of samples, 13x150: more rows than a band has.
    fn every_kind() -> Vec<DynamicImage> {
        let (w, h) = (13, 150);
        let wide = |channels: usize| colours(w, h).take((w * h) as usize * channels).collect::<Vec<u16>>();
        let narrow = |channels| wide(channels).into_iter().map(|v| (v >> 7) as u8).collect::<Vec<u8>>();
        vec![
            DynamicImage::ImageLuma8(ImageBuffer::<Luma<u8>, _>::from_raw(w, h, narrow(1)).unwrap()),
            DynamicImage::ImageLumaA8(ImageBuffer::<LumaA<u8>, _>::from_raw(w, h, narrow(2)).unwrap()),
            DynamicImage::ImageRgb8(ImageBuffer::<Rgb<u8>, _>::from_raw(w, h, narrow(3)).unwrap()),
            DynamicImage::ImageRgba8(ImageBuffer::<Rgba<u8>, _>::from_raw(w, h, narrow(4)).unwrap()),
            DynamicImage::ImageLuma16(ImageBuffer::<Luma<u16>, _>::from_raw(w, h, wide(1)).unwrap()),
            DynamicImage::ImageLumaA16(ImageBuffer::<LumaA<u16>, _>::from_raw(w, h, wide(2)).unwrap()),
            DynamicImage::ImageRgb16(ImageBuffer::<Rgb<u16>, _>::from_raw(w, h, wide(3)).unwrap()),
            DynamicImage::ImageRgba16(ImageBuffer::<Rgba<u16>, _>::from_raw(w, h, wide(4)).unwrap()),
        ]
    }

    #[test]
    fn lossless_formats_hold_every_kind_of_samples() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("in.png"), folder.path().join("out.png"));
        let tiff = folder.path().join("out.tiff");
        for image in every_kind() {
            image.save_with_format(&from, ImageFormat::Png).unwrap();
            let photograph = read_photograph(&from).unwrap();
            for out in [&to, &tiff] {
                write_photograph(out, &photograph, true).unwrap();
                let read = read_photograph(out).unwrap();
                assert!(read.image.to_rgb8() == photograph.image.to_rgb8() && read.alpha == photograph.alpha);
            }
            assert!(image::open(&to).unwrap() == image, "{:?}", image.color());
            let jpeg = folder.path().join("out.jpg");
            write_photograph(&jpeg, &photograph, true).unwrap();
            let read = read_photograph(&jpeg).unwrap();
            assert_eq!((read.grey, read.bits, read.alpha), (photograph.grey, 8, None));
            let lost = photograph.losses(ImageEncoding::Jpeg).len();
            assert_eq!(lost, usize::from(photograph.alpha.is_some()) + usize::from(photograph.bits == 16));
            assert!(photograph.losses(ImageEncoding::Tiff).is_empty());
        }
    }

    #[test]
    fn a_colour_profile_is_written_back_if_it_suits_the_channels() {
        let folder = tempfile::tempdir().unwrap();
        let mut icc = vec![7; 200];
        icc[16..20].copy_from_slice(b"RGB ");
        // TIFF's decoder reads no tag that is larger than the image.
        let mut photograph =
            Photograph { image: Image::filled(64, 64, 0.5), alpha: None, bits: 8, grey: false, icc: Some(icc.clone()) };
        for name in ["a.png", "a.jpg", "a.tif"] {
            let path = folder.path().join(name);
            write_photograph(&path, &photograph, false).unwrap();
            assert_eq!(read_photograph(&path).unwrap().icc.as_ref(), Some(&icc), "{name}");
        }
        photograph.icc.as_mut().unwrap()[16..20].copy_from_slice(b"CMYK");
        write_photograph(&folder.path().join("a.png"), &photograph, true).unwrap();
        assert_eq!(read_photograph(&folder.path().join("a.png")).unwrap().icc, None);
    }
}
