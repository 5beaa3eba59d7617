//! Image files of strangers, and `defusion restore` on them.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use clap::Parser;
use defusion::device;
use defusion::restore::{RestoreArgs, run_restore};
use defusion_config::Stage;
use defusion_imaging::Image;
use defusion_imaging::image_file::{ImageFileError, read_image, write_image};
use defusion_restore::export::{Export, Part};
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ExtendedColorType, ImageEncoder, ImageFormat};

use crate::tiny;

/// A folder for one test.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

pub(crate) fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

pub(crate) fn rgb8(image: &Image) -> DynamicImage {
    let (w, h) = (image.width() as u32, image.height() as u32);
    DynamicImage::ImageRgb8(image::RgbImage::from_raw(w, h, image.to_rgb8()).unwrap())
}

#[test]
fn lossless_formats_are_read_exactly_whatever_their_name_says() {
    let folder = Folder::new();
    let image = tiny::image(13, 7, 1);
    for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff] {
        let path = folder.file("image.jpg", &encoded(&rgb8(&image), format));
        assert_eq!(read_image(&path).unwrap(), image, "{format:?}");
    }
    // 16 bits, grey and alpha.
    let deep = DynamicImage::ImageRgb16(rgb8(&image).to_rgb16());
    let path = folder.file("deep.png", &encoded(&deep, ImageFormat::Png));
    assert_eq!(read_image(&path).unwrap().to_rgb8(), image.to_rgb8());
    let grey = DynamicImage::ImageLumaA8(rgb8(&image).to_luma_alpha8());
    let read = read_image(&folder.file("grey.png", &encoded(&grey, ImageFormat::Png))).unwrap();
    assert_eq!(read.plane(0), read.plane(2));
    assert_eq!(read.to_rgb8()[0], grey.to_luma8().as_raw()[0]);
}

#[test]
fn the_exif_orientation_is_applied() {
    let folder = Folder::new();
    // Left half black, right half white; orientation 6: turn it right, so the top becomes black.
    let mut image = Image::filled(32, 16, 0.0);
    for row in image.data_mut().chunks_exact_mut(32) {
        row[16..].fill(1.0);
    }
    let exif = *b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let mut bytes = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 100);
    encoder.set_exif_metadata(exif.to_vec()).unwrap();
    encoder.write_image(&image.to_rgb8(), 32, 16, ExtendedColorType::Rgb8).unwrap();
    let read = read_image(&folder.file("phone.jpg", &bytes)).unwrap();
    assert_eq!((read.width(), read.height()), (16, 32));
    assert!(read.plane(0)[8] < 0.1 && read.plane(0)[16 * 31 + 8] > 0.9);
}

#[test]
fn bombs_and_damage_are_refused_by_name() {
    let folder = Folder::new();
    // A BMP header of 60000 x 60000 pixels and nothing behind it.
    let mut bomb = b"BM\x36\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    bomb.extend(60_000i32.to_le_bytes());
    bomb.extend(60_000i32.to_le_bytes());
    bomb.extend(b"\x01\0\x18\0");
    bomb.extend([0; 24]);
    let error = read_image(&folder.file("bomb.bmp", &bomb)).unwrap_err();
    assert!(matches!(error, ImageFileError::TooLarge { width: 60_000, .. }), "{error}");
    assert!(error.to_string().contains("bomb.bmp"));

    let whole = encoded(&rgb8(&tiny::image(64, 64, 2)), ImageFormat::Png);
    for (name, bytes) in [("cut.png", &whole[..whole.len() / 2]), ("empty.png", &[][..]), ("text.png", b"hello")] {
        let error = read_image(&folder.file(name, bytes)).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("decode"), "{error}");
    }
    assert!(matches!(read_image(&folder.path("none.png")), Err(ImageFileError::Read { .. })));
}

#[test]
fn what_is_written_is_whole_and_overwrites_nothing() {
    let folder = Folder::new();
    let (a, b) = (tiny::image(20, 10, 1), tiny::image(20, 10, 2));
    let path = folder.path("out.png");
    write_image(&path, &a, false).unwrap();
    assert!(matches!(write_image(&path, &b, false), Err(ImageFileError::Exists { .. })));
    assert_eq!(read_image(&path).unwrap(), a);
    write_image(&path, &b, true).unwrap();
    assert_eq!(read_image(&path).unwrap(), b);
    let jpeg = folder.path("out.JPG");
    write_image(&jpeg, &a, false).unwrap();
    assert_eq!(image::guess_format(&std::fs::read(&jpeg).unwrap()).unwrap(), ImageFormat::Jpeg);
    assert!(matches!(write_image(&folder.path("out.gif"), &a, false), Err(ImageFileError::Extension { .. })));
    // Nothing half-written is left.
    assert_eq!(std::fs::read_dir(folder.0.path()).unwrap().count(), 2);
}

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    restore: RestoreArgs,
}

/// Exports tiny weights and runs `defusion restore` as the command line would.
pub(crate) fn restore(folder: &Folder, arguments: &[&str]) -> Result<(), String> {
    let weights = folder.path("weights.safetensors");
    if !weights.exists() {
        let run = folder.path("run");
        let config = tiny::config(&run, "");
        let run = tiny::save(&config, &[tiny::snapshot(&tiny::networks(&config, 1), Stage::Diffusion, 5)]);
        Export::of_run(&run, None, Part::Whole).unwrap().write(&weights).unwrap();
    }
    let weights = weights.to_str().unwrap();
    let fixed = ["defusion", "--weights", weights, "--device", "cpu"];
    let cli = Cli::try_parse_from(fixed.iter().chain(arguments)).map_err(|e| e.to_string())?;
    run_restore(&cli.restore).map_err(|e| e.to_string())
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_command_restores_files_and_folders_of_them() {
    let folder = Folder::new();
    let (one, two) = (tiny::image(21, 34, 1), tiny::image(16, 8, 2));
    let a = folder.file("a.bmp", &encoded(&rgb8(&one), ImageFormat::Bmp));
    let b = folder.file("b.png", &encoded(&rgb8(&two), ImageFormat::Png));
    let out = folder.path("out.png");
    restore(&folder, &[text(&a), "--out", text(&out), "--degradation", "rain,noise"]).unwrap();
    let first = read_image(&out).unwrap();
    assert_eq!((first.width(), first.height()), (21, 34));
    assert_ne!(first, one);

    // Again: refused, unchanged; forced with another seed: another image.
    let again = [text(&a), "--out", text(&out), "--degradation", "rain,noise", "--seed", "5"];
    let error = restore(&folder, &again).unwrap_err();
    assert!(error.contains("out.png exists") && error.contains("--force"), "{error}");
    assert_eq!(read_image(&out).unwrap(), first);
    restore(&folder, &[&again[..], &["--force"]].concat()).unwrap();
    assert_ne!(read_image(&out).unwrap(), first);

    let many = folder.path("many");
    let error = restore(&folder, &[text(&a), text(&b), "--out", text(&many), "--blind"]).unwrap_err();
    assert!(error.contains("folder that exists"), "{error}");
    std::fs::create_dir(&many).unwrap();
    restore(&folder, &[text(&a), text(&b), "--out", text(&many), "--blind"]).unwrap();
    assert_eq!(read_image(&many.join("b.png")).unwrap().width(), 16);
    assert!(many.join("a.png").is_file());
}

#[test]
fn the_command_line_is_checked_before_any_work() {
    let folder = Folder::new();
    let a = folder.file("a.png", &encoded(&rgb8(&tiny::image(8, 8, 1)), ImageFormat::Png));
    let out = folder.path("out.png");
    let with = |more: &[&str]| restore(&folder, &[&[text(&a), "--out", text(&out)], more].concat()).unwrap_err();
    assert!(with(&["--degradation", "fog"]).contains("`fog` is not a degradation"));
    assert!(with(&[]).contains("--degradation"));
    assert!(with(&["--blind", "--timesteps", "200,400"]).contains("--timesteps must fall"));
    assert!(with(&["--blind", "--timesteps", "1000"]).contains("0..1000"));
    assert!(device::parse("gpu").unwrap_err().contains("neither cpu nor cuda"));
    let gif = folder.path("out.gif");
    assert!(restore(&folder, &[text(&a), "--out", text(&gif), "--blind"]).unwrap_err().contains(".png, .jpg"));
    assert!(!out.exists() && !gif.exists());
}
