//! The physics of each degradation: what its formula promises, measured on its output.

use defusion_config::{Degradation, Severity, Synthesis};
use defusion_dataloader::degrade::{
    self, DefocusBlur, GaussianBlur, GaussianNoise, Illumination, Jpeg, LowLight, MotionBlur, Op, Params, Path,
    RealNoise,
};
use defusion_dataloader::{Picture, Rng};

const SIDE: usize = 128;

fn apply(params: Params, seed: u64, picture: &Picture) -> Picture {
    let mut picture = picture.clone();
    Op { params, seed }.apply(&mut picture);
    picture
}

fn drawn(category: Degradation, seed: u64) -> Op {
    let rng = &mut Rng::new(seed, &[]);
    degrade::draw(&[category], &Synthesis::default(), Severity::Any, 1.0, rng).ops()[0].clone()
}

fn flat(value: f32) -> Picture {
    Picture::filled(SIDE, SIDE, value)
}

/// Black but for one pixel in the middle of every plane.
fn impulse(value: f32) -> Picture {
    let mut picture = flat(0.0);
    for plane in picture.data_mut().chunks_exact_mut(SIDE * SIDE) {
        plane[SIDE / 2 * SIDE + SIDE / 2] = value;
    }
    picture
}

fn decode(v: f32) -> f64 {
    let v = f64::from(v);
    if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
}

/// Mean and standard deviation.
fn moments(values: impl Iterator<Item = f64> + Clone) -> [f64; 2] {
    let n = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / n;
    [mean, (values.map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt()]
}

fn values(picture: &Picture) -> impl Iterator<Item = f64> + Clone {
    picture.data().iter().map(|v| f64::from(*v))
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
    let encoded = |p: &Picture| p.plane(0).iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
    let linear = |p: &Picture| p.plane(0).iter().map(|v| decode(*v)).collect::<Vec<_>>();
    for sigma in [0.8, 1.0, 2.0, 3.0] {
        let blurred = apply(Params::GaussianBlur(GaussianBlur { sigma }), 0, &impulse(1.0));
        let (sum, mean, [across, down]) = spread(&encoded(&blurred));
        assert!((sum - 1.0).abs() < 1e-4 && mean.iter().all(|m| (m - centre).abs() < 1e-3));
        // Below 0.8 px a sampled Gaussian is narrower than the one it samples (OpenCV's too).
        assert!((across.sqrt() / sigma - 1.0).abs() < 0.02 && (down.sqrt() / sigma - 1.0).abs() < 0.02, "{sigma}");
    }
    for radius in [1.5, 3.7, 8.0] {
        let blurred = apply(Params::DefocusBlur(DefocusBlur { radius, softness: 0.3 }), 0, &impulse(1.0));
        let (sum, mean, variance) = spread(&encoded(&blurred));
        assert!((sum - 1.0).abs() < 1e-4 && mean.iter().all(|m| (m - centre).abs() < 1e-3));
        // A disc's variance along an axis is r^2 / 4; the Gaussian and the pixel's own 1/12 add to it.
        let expected = radius * radius / 4.0 + 0.09 + 1.0 / 12.0;
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

#[test]
fn gaussian_noise_has_its_stated_level_and_is_white() {
    for grey in [false, true] {
        let noisy = apply(Params::GaussianNoise(GaussianNoise { sigma: 20.0, grey }), 1, &flat(0.5));
        let [mean, deviation] = moments(values(&noisy));
        assert!((mean - 0.5).abs() < 2e-3 && (deviation * 255.0 / 20.0 - 1.0).abs() < 0.02, "{mean} {deviation}");
        // Correlation of neighbours, and of channels.
        let e: Vec<f64> = values(&noisy).map(|v| (v - mean) / deviation).collect();
        let n = SIDE * SIDE;
        let neighbours = e[..n].windows(2).map(|w| w[0] * w[1]).sum::<f64>() / n as f64;
        let channels = e[..n].iter().zip(&e[n..2 * n]).map(|(a, b)| a * b).sum::<f64>() / n as f64;
        assert!(neighbours.abs() < 0.04, "{neighbours}");
        assert!((channels - f64::from(u8::from(grey))).abs() < 0.04, "{channels}");
    }
}

#[test]
fn real_noise_has_the_stated_variance_in_linear_light() {
    let (shot, read) = (0.06, 0.02);
    for level in [0.35, 0.5, 0.75] {
        let noisy = apply(Params::RealNoise(RealNoise { shot, read }), 2, &flat(level));
        let [mean, deviation] = moments(values(&noisy).map(|v| decode(v as f32)).collect::<Vec<_>>().into_iter());
        let x = decode(level);
        let expected = (shot * shot * x + read * read).sqrt();
        assert!(
            (mean - x).abs() < 5e-3 && (deviation / expected - 1.0).abs() < 0.04,
            "{level}: {deviation}, {expected}"
        );
    }
}

/// Black and white pictures under the same veil show its transmission and airlight: `J_0 = A (1 - t)`,
/// `J_1 = t + A (1 - t)`.
fn veil(category: Degradation, seed: u64) -> (Vec<f64>, Vec<f64>) {
    let op = drawn(category, seed);
    let [black, white] = [0.0, 1.0].map(|v| {
        let mut picture = flat(v);
        op.apply(&mut picture);
        picture
    });
    let t: Vec<f64> = values(&white).zip(values(&black)).map(|(w, b)| w - b).collect();
    let airlight = values(&black).zip(&t).map(|(b, t)| b / (1.0 - t)).collect();
    (t, airlight)
}

#[test]
fn haze_has_transmission_and_airlight_within_range() {
    for seed in 0..20 {
        let (t, airlight) = veil(Degradation::Haze, seed);
        // beta up to 2 and depth in (0.08, 1].
        let least = t.iter().copied().fold(1.0, f64::min);
        assert!(least > (-2.0f64).exp() - 1e-3 && least < (-0.6f64 * 0.5).exp() + 1e-3, "{least}");
        assert!(t.iter().all(|t| *t < (-0.6f64 * 0.08).exp() + 1e-3));
        let [mean, deviation] = moments(airlight.iter().copied());
        assert!((0.6..=1.0).contains(&mean) && deviation < 1e-2, "airlight is one value: {mean} {deviation}");
    }
}

#[test]
fn water_takes_red_first() {
    for seed in 0..20 {
        let (t, _) = veil(Degradation::Underwater, seed);
        let [red, green, blue] = [0, 1, 2].map(|c| &t[c * SIDE * SIDE..][..SIDE * SIDE]);
        assert!(t.iter().all(|t| (0.0..1.0).contains(t)));
        assert!(red.iter().zip(green).zip(blue).all(|((r, g), b)| r <= g && r <= b));
    }
}

#[test]
fn rain_only_adds_light_the_same_in_all_channels() {
    for seed in 0..10 {
        let mut rainy = flat(0.2);
        drawn(Degradation::Rain, seed).apply(&mut rainy);
        assert!(rainy.data().iter().all(|v| *v >= 0.2));
        assert!(rainy.plane(0) == rainy.plane(1) && rainy.plane(1) == rainy.plane(2));
        let [mean, deviation] = moments(values(&rainy));
        assert!(mean > 0.23 && deviation > 0.01, "{mean} {deviation}");
    }
}

/// Neighbours along the fall are far more alike than across it.
#[test]
fn rain_falls_in_streaks() {
    for seed in 0..10 {
        let mut rainy = flat(0.0);
        drawn(Degradation::Rain, seed).apply(&mut rainy);
        let plane = rainy.plane(0);
        let [mean, deviation] = moments(plane.iter().map(|v| f64::from(*v)));
        let correlation = |dx: usize, dy: usize| {
            let at = |x: usize, y: usize| (f64::from(plane[y * SIDE + x]) - mean) / deviation;
            let pairs = (0..SIDE - dy).flat_map(|y| (0..SIDE - dx).map(move |x| (x, y)));
            pairs.clone().map(|(x, y)| at(x, y) * at(x + dx, y + dy)).sum::<f64>() / pairs.count() as f64
        };
        assert!(correlation(0, 1) > 0.75 && correlation(3, 0) < 0.5 * correlation(0, 3), "seed {seed}");
    }
}

#[test]
fn heavy_rain_hides_the_scene_behind_a_veil() {
    for seed in 0..10 {
        let op = drawn(Degradation::HeavyRain, seed);
        let Params::HeavyRain(heavy) = &op.params else { panic!("not heavy rain") };
        let rain = apply(Params::Rain(heavy.streaks.clone()), 0, &flat(0.5));
        let mut picture = flat(0.5);
        op.apply(&mut picture);
        let ([_, streaks], [_, veiled]) = (moments(values(&rain)), moments(values(&picture)));
        assert!(heavy.veil.beta >= 3.0 && heavy.veil.beta <= 4.2 && streaks > 0.0 && veiled > 0.0);
        // Where the veil is thickest only the airlight is left.
        let nearest = values(&picture).map(|v| (v - heavy.veil.airlight).abs()).fold(1.0, f64::min);
        assert!(nearest < 0.15, "{nearest}");
    }
}

#[test]
fn snow_pulls_towards_white_and_covers_a_part() {
    for seed in 0..20 {
        let op = drawn(Degradation::Snow, seed);
        let mut snowy = flat(0.3);
        op.apply(&mut snowy);
        assert!(snowy.data().iter().all(|v| (0.3 - 1e-5..=1.0).contains(v)));
        let touched = values(&snowy).filter(|v| *v > 0.32).count() as f64 / snowy.data().len() as f64;
        assert!((0.005..0.7).contains(&touched), "seed {seed}: {touched} of the picture");
    }
}

#[test]
fn drops_change_only_where_they_are() {
    let mut rng = Rng::new(4, &[]);
    let scene = defusion_dataloader::ground::Element::DeadLeaves.draw(SIDE, &mut rng);
    for seed in 0..20 {
        let mut seen = scene.clone();
        drawn(Degradation::Raindrop, seed).apply(&mut seen);
        let same = values(&seen).zip(values(&scene)).filter(|(a, b)| a == b).count() as f64 / scene.data().len() as f64;
        assert!((0.2..0.995).contains(&same), "seed {seed}: {same} of the picture is untouched");
    }
}

#[test]
fn low_light_is_a_power_on_charts_and_dims_photographs() {
    let mut ramp = flat(0.0);
    ramp.data_mut().iter_mut().enumerate().for_each(|(i, v)| *v = (i % SIDE) as f32 / SIDE as f32);
    let dark = |illumination| apply(Params::LowLight(LowLight { gamma: 2.5, noise: 0.0, illumination }), 0, &ramp);
    let chart = dark(Illumination::Own);
    assert!(values(&chart).zip(values(&ramp)).all(|(a, b)| (a - b.powf(2.5)).abs() < 1e-5));
    // A ramp is smooth: its illumination is itself, but at the borders.
    let photograph = dark(Illumination::Smooth { radius: 2 });
    assert!(values(&photograph).zip(values(&ramp)).all(|(a, b)| a <= b + 1e-6 && (a - b.powf(2.5)).abs() < 0.02));
    let noisy = LowLight { gamma: 2.0, noise: 0.05, illumination: Illumination::Own };
    let [mean, deviation] = moments(values(&apply(Params::LowLight(noisy), 1, &flat(0.7))));
    assert!((mean - 0.49).abs() < 2e-3 && (deviation / 0.05 - 1.0).abs() < 0.02);
}

#[test]
fn jpeg_is_exact_where_it_loses_nothing_and_worse_at_lower_quality() {
    // Flat grey blocks have no detail to lose; at quality 100 their mean is kept to a level.
    let level = flat(100.0 / 255.0);
    assert_eq!(apply(Params::Jpeg(Jpeg { quality: 100 }), 0, &level), level);
    let scene = defusion_dataloader::ground::Element::DeadLeaves.draw(SIDE, &mut Rng::new(4, &[]));
    let error = |quality| {
        let coded = apply(Params::Jpeg(Jpeg { quality }), 0, &scene);
        values(&coded).zip(values(&scene)).map(|(a, b)| (a - b).powi(2)).sum::<f64>()
    };
    let errors = [95, 70, 40, 20, 10, 5].map(error);
    assert!(errors.is_sorted(), "{errors:?}");
}
