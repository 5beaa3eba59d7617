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

/// `jpeg-encoder` states 4:2:0 and the standard tables; `image` decodes. Their arithmetic differs in rounding and in
/// how chroma is interpolated, so pixels are close, not equal.
#[test]
fn pixels_are_near_an_independent_encoders() {
    use jpeg_encoder::{Encoder, QuantizationTableType, SamplingFactor};
    let clean = golden("jpeg-clean.png").crop(16, 0, 45, 20).unwrap();
    for quality in [10, 50, 90] {
        let mut file = Vec::new();
        let mut encoder = Encoder::new(&mut file, quality);
        encoder.set_sampling_factor(SamplingFactor::F_2_2);
        encoder.set_quantization_tables(QuantizationTableType::Default, QuantizationTableType::Default);
        encoder.encode(&clean.to_rgb8(), 45, 20, jpeg_encoder::ColorType::Rgb).unwrap();
        let theirs = image::load_from_memory(&file).unwrap().into_rgb8();
        let ours = coded(&clean, quality).to_rgb8();
        let mean =
            ours.iter().zip(theirs.as_raw()).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / ours.len() as f64;
        assert!(mean < 3.0, "quality {quality}: mean difference {mean} levels");
    }
}
