//! JPEG pixels against libjpeg-turbo's (stored; `tests/oracles/degrade/jpeg_golden.py` writes them) and against an
//! independent encoder and decoder.

use std::path::Path;

use defusion_dataloader::Picture;
use defusion_dataloader::degrade::{Jpeg, Op, Params};

fn golden(name: &str) -> Picture {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let image = image::open(path).unwrap().into_rgb8();
    Picture::from_rgb8(image.width() as usize, image.height() as usize, image.as_raw()).unwrap()
}

fn coded(picture: &Picture, quality: u8) -> Picture {
    let mut picture = picture.clone();
    Op { params: Params::Jpeg(Jpeg { quality }), seed: 0 }.apply(&mut picture);
    picture
}

#[test]
fn pixels_equal_libjpeg_turbos() {
    let clean = golden("jpeg-clean.png");
    for quality in [1, 10, 35, 50, 75, 96, 100] {
        assert!(coded(&clean, quality) == golden(&format!("jpeg-{quality:03}.png")), "quality {quality}");
    }
}
