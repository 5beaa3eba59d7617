//! One rule for image files wherever they are read: upright, whole, refused by name.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use defusion_imaging::{
    DecodeError, Image, ImageEncoding, ImageFileError, Pixels, Rng, Samples, check_writable, decode_pixels,
    encode_image, read_header, read_image, read_pixels, write_image,
};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::tiff::TiffEncoder;
use image::{DynamicImage, ExtendedColorType, ImageEncoder, ImageFormat};

const MAX: u64 = 1 << 20;

fn noise(width: usize, height: usize, seed: u64) -> Image {
    let mut rng = Rng::new(seed, &[]);
    let mut image = Image::filled(width, height, 0.0);
    image.data_mut().iter_mut().for_each(|v| *v = rng.f32());
    image.quantize();
    image
}

fn dynamic(image: &Image) -> DynamicImage {
    let (w, h) = (image.width() as u32, image.height() as u32);
    DynamicImage::ImageRgb8(image::RgbImage::from_raw(w, h, image.to_rgb8()).unwrap())
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn file(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// EXIF of one entry: the orientation.
fn exif(orientation: u8) -> Vec<u8> {
    let mut exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x00\0\0\0\0\0\0\0".to_vec();
    exif[18] = orientation;
    exif
}

/// The image as a camera held in another way would store it.
fn with_orientation(image: &Image, orientation: u8, format: ImageFormat) -> Vec<u8> {
    let (w, h, rgb) = (image.width() as u32, image.height() as u32, image.to_rgb8());
    let mut bytes = Vec::new();
    match format {
        ImageFormat::Jpeg => {
            let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 100);
            encoder.set_exif_metadata(exif(orientation)).unwrap();
            encoder.write_image(&rgb, w, h, ExtendedColorType::Rgb8).unwrap();
        }
        ImageFormat::Png => {
            let mut encoder = PngEncoder::new(&mut bytes);
            encoder.set_exif_metadata(exif(orientation)).unwrap();
            encoder.write_image(&rgb, w, h, ExtendedColorType::Rgb8).unwrap();
        }
        _ => panic!("no EXIF is written to {format:?}"),
    }
    bytes
}

#[test]
fn every_reader_turns_images_upright() {
    let folder = tempfile::tempdir().unwrap();
    let stored = noise(24, 16, 1);
    // Orientation 6: turn right. Upright, the left column becomes the top row.
    let mut upright = Image::filled(16, 24, 0.0);
    for c in 0..3 {
        for (x, y) in (0..16).flat_map(|x| (0..24).map(move |y| (x, y))) {
            upright.data_mut()[c * 384 + y * 16 + x] = stored.plane(c)[(15 - x) * 24 + y];
        }
    }
    let path = file(folder.path(), "phone.png", &with_orientation(&stored, 6, ImageFormat::Png));
    assert_eq!(read_image(&path).unwrap(), upright);
    let pixels = Pixels::new(16, 24, Samples::U8(upright.to_rgb8())).unwrap();
    assert_eq!(read_pixels(&path, MAX).unwrap(), pixels);
    assert_eq!(decode_pixels(&std::fs::read(&path).unwrap(), MAX).unwrap(), pixels);
    let header = read_header(&path).unwrap();
    assert_eq!((header.width, header.height, header.bits), (16, 24, 8));

    let (jpeg, plain) =
        (with_orientation(&stored, 6, ImageFormat::Jpeg), with_orientation(&stored, 1, ImageFormat::Jpeg));
    let turned = read_image(&file(folder.path(), "phone.jpg", &jpeg)).unwrap();
    let lying = read_image(&file(folder.path(), "lying.jpg", &plain)).unwrap();
    assert_eq!((turned.width(), turned.height()), (16, 24));
    assert_eq!(turned.plane(0)[0], lying.plane(0)[15 * 24]);
    for orientation in 1..=8 {
        let bytes = with_orientation(&stored, orientation, ImageFormat::Png);
        let path = file(folder.path(), "any.png", &bytes);
        let (header, pixels) = (read_header(&path).unwrap(), read_pixels(&path, MAX).unwrap());
        assert_eq!((header.width, header.height), (pixels.width(), pixels.height()), "orientation {orientation}");
        assert_eq!(header.width, if orientation < 5 { 24 } else { 16 });
    }
}

#[test]
fn truncated_files_of_every_format_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let image = dynamic(&noise(64, 48, 2));
    let mut jpeg = Vec::new();
    // Restart markers and a thumbnail's own end of image must not look like the end.
    let mut encoder = JpegEncoder::new_with_quality(&mut jpeg, 90);
    let thumbnail = encoded(&dynamic(&noise(8, 8, 3)), ImageFormat::Jpeg);
    encoder.set_exif_metadata([exif(1), thumbnail].concat()).unwrap();
    encoder.write_image(image.as_bytes(), 64, 48, ExtendedColorType::Rgb8).unwrap();
    let whole = [
        ("cut.jpg", jpeg),
        ("cut.png", encoded(&image, ImageFormat::Png)),
        ("cut.bmp", encoded(&image, ImageFormat::Bmp)),
        ("cut.tif", encoded(&image, ImageFormat::Tiff)),
        ("cut.webp", encoded(&image, ImageFormat::WebP)),
    ];
    for (name, bytes) in whole {
        let path = file(folder.path(), name, &bytes);
        read_image(&path).unwrap();
        let (header, pixels) = (read_header(&path).unwrap(), read_pixels(&path, MAX).unwrap());
        assert_eq!((header.width, header.height), (pixels.width(), pixels.height()));
        for len in [bytes.len() / 4, bytes.len() / 2, bytes.len() * 9 / 10] {
            file(folder.path(), name, &bytes[..len]);
            for error in [read_image(&path).unwrap_err(), read_pixels(&path, MAX).unwrap_err()] {
                assert!(error.to_string().contains(name) && !error.reason().contains(name), "{error}");
                assert!(matches!(error, ImageFileError::Decode { .. }), "{error}");
                assert!(!error.is_transient());
            }
        }
    }
}

#[test]
fn a_jpeg_that_lacks_its_end_is_told_before_anything_is_decoded() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = encode_image(&noise(40, 30, 4), ImageEncoding::Jpeg).unwrap();
    let truncated = |path: &Path| {
        matches!(
            (read_header(path), read_image(path)),
            (
                Err(ImageFileError::Decode { source: DecodeError::Truncated, .. }),
                Err(ImageFileError::Decode { source: DecodeError::Truncated, .. })
            )
        )
    };
    // What a camera appends behind the end does not matter, and fill bytes before a marker are allowed.
    let end = bytes.len() - 2;
    bytes.splice(end..end, [0xFF, 0xFF]);
    bytes.extend(b"more");
    let path = file(folder.path(), "whole.jpg", &bytes);
    assert!(!truncated(&path));
    read_image(&path).unwrap();
    for len in [end, end + 2, end / 2, 200, 30, 3] {
        assert!(truncated(&file(folder.path(), "cut.jpg", &bytes[..len])), "{len} bytes");
    }
    let error = read_image(&folder.path().join("cut.jpg")).unwrap_err().to_string();
    assert!(error.contains("cut.jpg") && error.contains("truncated"), "{error}");
}

#[test]
fn deep_grey_and_floating_point_samples_become_rgb() {
    let folder = tempfile::tempdir().unwrap();
    let image = noise(5, 4, 5);
    let deep = DynamicImage::ImageRgb16(dynamic(&image).to_rgb16());
    let path = file(folder.path(), "deep.png", &encoded(&deep, ImageFormat::Png));
    assert_eq!(read_image(&path).unwrap().to_rgb8(), image.to_rgb8());
    assert!(matches!(read_pixels(&path, MAX).unwrap().samples(), Samples::U16(_)));
    assert_eq!(read_header(&path).unwrap().bits, 16);
    let mut float = Vec::new();
    let rgb = dynamic(&image).to_rgb32f();
    let bytes: Vec<u8> = rgb.as_raw().iter().flat_map(|v| v.to_ne_bytes()).collect();
    TiffEncoder::new(Cursor::new(&mut float)).write_image(&bytes, 5, 4, ExtendedColorType::Rgb32F).unwrap();
    let path = file(folder.path(), "float.tif", &float);
    assert_eq!(read_image(&path).unwrap().to_rgb8(), image.to_rgb8());
    // A shard has no room for them.
    for error in [read_pixels(&path, MAX).unwrap_err(), read_header(&path).unwrap_err()] {
        assert!(matches!(error, ImageFileError::Decode { source: DecodeError::SampleType(_), .. }), "{error}");
    }
}

#[test]
fn too_many_pixels_are_refused_before_they_are_decoded() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = encoded(&dynamic(&noise(20, 10, 6)), ImageFormat::Png);
    let path = file(folder.path(), "large.png", &bytes);
    read_pixels(&path, 200).unwrap();
    let error = read_pixels(&path, 199).unwrap_err();
    assert!(matches!(error, ImageFileError::TooLarge { width: 20, height: 10, limit: 199, .. }), "{error}");
    assert!(error.to_string().contains("large.png") && error.to_string().contains("199"), "{error}");
    assert!(matches!(decode_pixels(&bytes, 199), Err(DecodeError::TooLarge { .. })));
    let missing = read_header(&folder.path().join("none.png")).unwrap_err();
    assert!(matches!(missing, ImageFileError::Read { .. }) && !missing.is_transient());
}

#[test]
fn files_are_written_as_their_name_says_and_not_by_accident() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (noise(20, 10, 7), noise(20, 10, 8));
    let path = folder.path().join("out.png");
    check_writable(&path, false).unwrap();
    write_image(&path, &a, false).unwrap();
    assert!(matches!(check_writable(&path, false), Err(ImageFileError::Exists { .. })));
    assert!(matches!(write_image(&path, &b, false), Err(ImageFileError::Exists { .. })));
    assert_eq!(read_image(&path).unwrap(), a);
    check_writable(&path, true).unwrap();
    write_image(&path, &b, true).unwrap();
    assert_eq!(read_image(&path).unwrap(), b);
    assert!(matches!(check_writable(&folder.path().join("out.gif"), true), Err(ImageFileError::Extension { .. })));
    let nowhere = write_image(&folder.path().join("no/out.jpg"), &a, true).unwrap_err();
    assert!(matches!(nowhere, ImageFileError::Write { .. }), "{nowhere}");
    assert!(matches!(
        write_image(&folder.path().join("none.png"), &Image::filled(0, 0, 0.0), false),
        Err(ImageFileError::Encode { .. })
    ));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
