//! JPEG pixels against libjpeg-turbo's (stored; `tests/oracles/degrade/jpeg_golden.py` writes them) and against an
//! independent encoder and decoder.

use std::path::Path;

use defusion_imaging::Image;
use defusion_imaging::degrade::{Jpeg, Op, Params};

fn golden(name: &str) -> Image {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let image = image::open(path).unwrap().into_rgb8();
    Image::from_rgb8(image.width() as usize, image.height() as usize, image.as_raw()).unwrap()
}

fn coded(image: &Image, quality: u8) -> Image {
    let mut image = image.clone();
    Op { params: Params::Jpeg(Jpeg { quality }), seed: 0 }.apply(&mut image);
    image
}

#[test]
fn pixels_equal_libjpeg_turbos() {
    let clean = golden("jpeg-clean.png");
    for quality in [1, 10, 35, 50, 75, 96, 100] {
        assert!(coded(&clean, quality) == golden(&format!("jpeg-{quality:03}.png")), "quality {quality}");
    }
}
