//! Blurs: energy, place and width.

use defusion_imaging::Image;
use defusion_imaging::degrade::{DefocusBlur, GaussianBlur, MotionBlur, Params, Path};

use super::{SIDE, apply, decode, flat};

/// Black but for one pixel in the middle of every plane.
fn impulse(value: f32) -> Image {
    let mut image = flat(0.0);
    for plane in image.data_mut().chunks_exact_mut(SIDE * SIDE) {
        plane[SIDE / 2 * SIDE + SIDE / 2] = value;
    }
    image
}

/// Sum, centre of mass and mean squared distance from it, of one plane of non-negative values.
fn spread(plane: &[f64]) -> (f64, [f64; 2], [f64; 2]) {
    let sum: f64 = plane.iter().sum();
    let axis = |i: usize, axis: usize| if axis == 0 { (i % SIDE) as f64 } else { (i / SIDE) as f64 };
    let mean = [0, 1].map(|a| plane.iter().enumerate().map(|(i, v)| v * axis(i, a)).sum::<f64>() / sum);
    let variance =
        [0, 1].map(|a| plane.iter().enumerate().map(|(i, v)| v * (axis(i, a) - mean[a]).powi(2)).sum::<f64>() / sum);
    (sum, mean, variance)
}

#[test]
fn blurs_keep_energy_and_place_and_have_their_stated_width() {
    let centre = (SIDE / 2) as f64;
    let encoded = |p: &Image| p.plane(0).iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
    let linear = |p: &Image| p.plane(0).iter().map(|v| decode(*v)).collect::<Vec<_>>();
    for sigma in [0.8, 1.0, 2.0, 3.0] {
        let blurred = apply(Params::GaussianBlur(GaussianBlur { sigma }), 0, &impulse(1.0));
        let (sum, mean, [across, down]) = spread(&encoded(&blurred));
        assert!((sum - 1.0).abs() < 1e-4 && mean.iter().all(|m| (m - centre).abs() < 1e-3));
        // Below 0.8 px a sampled Gaussian is narrower than the one it samples (OpenCV's too).
        assert!((across.sqrt() / sigma - 1.0).abs() < 0.02 && (down.sqrt() / sigma - 1.0).abs() < 0.02, "{sigma}");
    }
    for radius in [2.5, 5.3, 8.0] {
        let blurred = apply(Params::DefocusBlur(DefocusBlur { radius, softness: 0.3 }), 0, &impulse(1.0));
        let (sum, mean, variance) = spread(&encoded(&blurred));
        assert!((sum - 1.0).abs() < 1e-4 && mean.iter().all(|m| (m - centre).abs() < 1e-3));
        // A disc's variance along an axis is r^2 / 4; its antialiased edge adds a pixel's 1/12.
        let expected = radius * radius / 4.0 + 1.0 / 12.0;
        assert!(variance.iter().all(|v| (v / expected - 1.0).abs() < 0.05), "{radius}: {variance:?}, {expected}");
    }
    for angle in [0.0, 30.0, 90.0, 135.0, 260.0] {
        let length = 21.0;
        let blurred = apply(Params::MotionBlur(MotionBlur { length, path: Path::Line { angle } }), 0, &impulse(1.0));
        let (sum, mean, [across, down]) = spread(&linear(&blurred));
        assert!((sum - 1.0).abs() < 1e-3 && mean.iter().all(|m| (m - centre).abs() < 1e-3), "{sum} {mean:?}");
        // Uniform along the line, and a triangle of variance 1/6 about it.
        let (sin, cos) = f64::to_radians(angle).sin_cos();
        let along = length * length / 12.0;
        let expected = [along * cos * cos, along * sin * sin].map(|v| v + 1.0 / 6.0);
        for (v, expected) in [across, down].into_iter().zip(expected) {
            assert!((v - expected).abs() < 0.06 * along, "{angle}: {v}, {expected}");
        }
    }
    for seed in 0..10 {
        let motion = MotionBlur { length: 25.0, path: Path::Trajectory };
        let (sum, mean, [across, down]) = spread(&linear(&apply(Params::MotionBlur(motion), seed, &impulse(1.0))));
        assert!((sum - 1.0).abs() < 1e-3 && mean.iter().all(|m| (m - centre).abs() < 0.02), "{sum} {mean:?}");
        // No path of this length is wider than a straight one.
        assert!((across + down).sqrt() < 25.0 / 12f64.sqrt() + 0.5);
    }
}

#[test]
fn blurs_leave_flats_alone() {
    for params in [
        Params::GaussianBlur(GaussianBlur { sigma: 3.0 }),
        Params::DefocusBlur(DefocusBlur { radius: 8.0, softness: 0.5 }),
        Params::MotionBlur(MotionBlur { length: 31.0, path: Path::Line { angle: 33.0 } }),
        Params::MotionBlur(MotionBlur { length: 31.0, path: Path::Trajectory }),
    ] {
        let blurred = apply(params.clone(), 3, &flat(0.3));
        assert!(blurred.data().iter().all(|v| (v - 0.3).abs() < 1e-4), "{params:?}");
    }
}
