//! Noise, low light and compression: level, variance and exactness.

use defusion_imaging::Rng;
use defusion_imaging::degrade::{GaussianNoise, Illumination, Jpeg, LowLight, Params, RealNoise};

use super::{SIDE, apply, decode, flat, moments, values};

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
    let scene = defusion_imaging::ground::Element::DeadLeaves.draw(SIDE, &mut Rng::new(4, &[]));
    let error = |quality| {
        let coded = apply(Params::Jpeg(Jpeg { quality }), 0, &scene);
        values(&coded).zip(values(&scene)).map(|(a, b)| (a - b).powi(2)).sum::<f64>()
    };
    let errors = [95, 70, 40, 20, 10, 5].map(error);
    assert!(errors.is_sorted(), "{errors:?}");
}
