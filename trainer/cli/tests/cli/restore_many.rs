//! `defusion restore` over many images and kinds of them.

use std::path::Path;

use image::{DynamicImage, ImageFormat};

use crate::restore::{Folder, encoded, restore, rgb8, text};
use crate::tiny;

fn png(image: &DynamicImage) -> Vec<u8> {
    encoded(image, ImageFormat::Png)
}

/// Names of all files below a folder, with those of their folders.
fn files(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        match entry.path().is_dir() {
            true => names.extend(files(&entry.path()).into_iter().map(|below| format!("{name}/{below}"))),
            false => names.push(name),
        }
    }
    names.sort();
    names
}

#[test]
fn names_keep_their_dots() {
    let folder = Folder::new();
    let [a, b] = [1, 2].map(|i| folder.file(&format!("shot.{i}.png"), &png(&rgb8(&tiny::image(8, 8, i)))));
    let out = folder.path("out");
    std::fs::create_dir(&out).unwrap();
    restore(&folder, &[text(&a), text(&b), "--out", text(&out), "--blind"]).unwrap();
    assert_eq!(files(&out), ["shot.1.png", "shot.2.png"]);
    // Two of one name have no place in one folder, and neither is restored.
    let jpeg = folder.file("shot.1.bmp", &encoded(&rgb8(&tiny::image(8, 8, 1)), ImageFormat::Bmp));
    let error = restore(&folder, &[text(&a), text(&jpeg), "--out", text(&out), "--blind", "--force"]).unwrap_err();
    assert!(error.contains("shot.1.png would be written twice") && error.contains("shot.1.bmp"), "{error}");
}

#[test]
fn one_bad_image_stops_no_other_and_what_is_finished_is_left() {
    let folder = Folder::new();
    let whole = png(&rgb8(&tiny::image(8, 8, 1)));
    let [good, bad, last] =
        [("good1.png", &whole[..]), ("cut.png", &whole[..whole.len() / 2]), ("good2.png", &whole[..])]
            .map(|(name, bytes)| folder.file(name, bytes));
    let out = folder.path("out");
    std::fs::create_dir(&out).unwrap();
    let all = [text(&good), text(&bad), text(&last), "--out", text(&out), "--blind"];
    for _ in 0..2 {
        let error = restore(&folder, &all).unwrap_err();
        assert!(error.contains("1 of") && error.contains("cut.png") && !error.contains("good"), "{error}");
        assert_eq!(files(&out), ["good1.png", "good2.png"]);
    }
    // What is there stays, but for --force.
    std::fs::write(out.join("good1.png"), "kept").unwrap();
    restore(&folder, &[text(&good), text(&last), "--out", text(&out), "--blind"]).unwrap();
    assert_eq!(std::fs::read(out.join("good1.png")).unwrap(), b"kept");
    restore(&folder, &[text(&good), text(&last), "--out", text(&out), "--blind", "--force"]).unwrap();
    assert_eq!(std::fs::read(out.join("good1.png")).unwrap(), std::fs::read(out.join("good2.png")).unwrap());
}

#[test]
fn folders_are_mirrored_without_what_is_hidden_or_no_image() {
    let folder = Folder::new();
    let image = png(&rgb8(&tiny::image(8, 8, 1)));
    std::fs::create_dir_all(folder.path("in/sub/.thumbs")).unwrap();
    for name in ["in/a.PNG", "in/sub/b.c.png", "in/._a.png", "in/sub/.thumbs/t.png"] {
        folder.file(name, &image);
    }
    folder.file("in/notes.txt", b"hello");
    let (from, out) = (folder.path("in"), folder.path("in/restored"));
    // The folder of results may lie among the images: it is not one of them.
    for _ in 0..2 {
        restore(&folder, &[text(&from), "--out", text(&out), "--blind"]).unwrap();
        assert_eq!(files(&out), ["a.png", "sub/b.c.png"]);
    }
    let error = restore(&folder, &[text(&from), "--out", text(&from), "--blind"]).unwrap_err();
    assert!(error.contains("--out needs another folder"), "{error}");
    let error = restore(&folder, &[text(&from), "--out", text(&folder.path("one.png")), "--blind"]).unwrap_err();
    assert!(error.contains("folder that exists"), "{error}");
    std::fs::create_dir(folder.path("empty")).unwrap();
    let error = restore(&folder, &[text(&folder.path("empty")), "--out", text(&out), "--blind"]).unwrap_err();
    assert!(error.contains("empty: no images"), "{error}");
}

#[test]
fn alpha_depth_and_grey_come_back() {
    let folder = Folder::new();
    let image = rgb8(&tiny::image(19, 14, 1));
    let alpha: Vec<u8> = (0..19 * 14).map(|i| (i * 7) as u8).collect();
    let mut rgba = image.to_rgba8();
    rgba.pixels_mut().zip(&alpha).for_each(|(pixel, a)| pixel.0[3] = *a);
    let of = |image: DynamicImage, to: &str, name: &str| {
        let (from, to) = (folder.file(&format!("{name}.in.png"), &png(&image)), folder.path(&format!("{name}.{to}")));
        restore(&folder, &[text(&from), "--out", text(&to), "--degradation", "rain"]).unwrap();
        let restored = image::open(&to).unwrap();
        assert_ne!(restored.to_rgb8(), image.to_rgb8(), "nothing was done");
        restored
    };
    for to in ["png", "tif"] {
        let restored = of(rgba.clone().into(), to, "rgba");
        assert_eq!(restored.color(), image::ColorType::Rgba8);
        assert!(restored.to_rgba8().pixels().map(|p| p.0[3]).eq(alpha.iter().copied()));
        let deep = of(image.to_rgb16().into(), to, "deep");
        assert_eq!(deep.color(), image::ColorType::Rgb16);
        assert!(deep.to_rgb16().as_raw().iter().any(|v| v % 257 != 0), "8 bits in 16");
        assert_eq!(of(image.to_luma8().into(), to, "grey").color(), image::ColorType::L8);
        assert_eq!(of(image.clone(), to, "plain").color(), image::ColorType::Rgb8);
    }
    assert_eq!(of(rgba.into(), "jpg", "rgba").color(), image::ColorType::Rgb8);
    assert_eq!(of(image.to_luma16().into(), "jpg", "grey16").color(), image::ColorType::L8);
}
