//! PSNR and SSIM against scikit-image 0.26, and against their definitions at the edges.

use defusion_imaging::Image;
use defusion_restore::metrics::{self, MetricError, Planes};
use safetensors::SafeTensors;

#[derive(serde::Deserialize)]
struct Golden {
    psnr_rgb: f64,
    ssim_rgb: f64,
    psnr_y: f64,
    ssim_y: f64,
}

#[test]
fn agrees_with_scikit_image() {
    let golden: Vec<Golden> =
        serde_json::from_slice(include_bytes!("../../../model/tests/model/goldens/metrics.json")).unwrap();
    let tensors =
        SafeTensors::deserialize(include_bytes!("../../../model/tests/model/goldens/metrics.safetensors")).unwrap();
    assert_eq!(golden.len(), 3);
    for (i, want) in golden.iter().enumerate() {
        let image = |name: &str| {
            let t = tensors.tensor(&format!("{i}.{name}")).unwrap();
            Image::from_rgb8(t.shape()[1], t.shape()[0], t.data()).unwrap()
        };
        let got = metrics::score(&image("distorted"), &image("reference")).unwrap();
        for (name, got, want) in [
            ("psnr_rgb", got.psnr_rgb, want.psnr_rgb),
            ("ssim_rgb", got.ssim_rgb, want.ssim_rgb),
            ("psnr_y", got.psnr_y, want.psnr_y),
            ("ssim_y", got.ssim_y, want.ssim_y),
        ] {
            assert!((got - want).abs() < 1e-9, "pair {i}, {name}: {got} is not {want}");
        }
    }
}

#[test]
fn equal_images_are_perfect() {
    let mut image = Image::filled(40, 30, 0.5);
    image.data_mut().iter_mut().enumerate().for_each(|(i, v)| *v = (i % 7) as f32 / 7.0);
    let scores = metrics::score(&image, &image).unwrap();
    assert_eq!(scores.psnr_rgb, f64::INFINITY);
    assert!((scores.ssim_rgb - 1.0).abs() < 1e-12 && (scores.ssim_y - 1.0).abs() < 1e-12);
}

#[test]
fn rounds_to_8_bit_before_scoring() {
    let a = Image::filled(16, 16, 100.0 / 255.0);
    let b = Image::filled(16, 16, 100.4 / 255.0);
    let c = Image::filled(16, 16, 101.0 / 255.0);
    assert_eq!(metrics::score(&a, &b).unwrap().psnr_rgb, f64::INFINITY);
    assert!((metrics::score(&a, &c).unwrap().psnr_rgb - 20.0 * 255f64.log10()).abs() < 1e-9);
}

#[test]
fn an_image_smaller_than_ssims_window_is_scored_by_what_is_defined() {
    let (a, b) = (Image::filled(10, 10, 0.0), Image::filled(10, 10, 1.0 / 255.0));
    let scores = metrics::score(&a, &b).unwrap();
    assert!((scores.psnr_rgb - 20.0 * 255f64.log10()).abs() < 1e-9 && scores.psnr_y.is_finite());
    assert!(scores.ssim_rgb.is_nan() && scores.ssim_y.is_nan());
    let large = Image::filled(metrics::WINDOW, metrics::WINDOW, 0.5);
    assert_eq!(metrics::score(&large, &large).unwrap().ssim_rgb, 1.0);
}

#[test]
fn refuses_what_cannot_be_compared() {
    let (a, b) = (Image::filled(32, 16, 0.1), Image::filled(16, 32, 0.1));
    assert_eq!(metrics::score(&a, &b), Err(MetricError::Size(32, 16, 16, 32)));
    let small = Image::filled(10, 200, 0.1);
    let tall = Planes::rgb(&small);
    assert_eq!(metrics::ssim(&tall, &tall), Err(MetricError::TooSmall(10, 200)));
    let rgb = Planes::rgb(&a);
    assert_eq!(metrics::psnr(&rgb, &rgb.luma()), Err(MetricError::Channels(3, 1)));
}
