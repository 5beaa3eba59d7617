//! Haze, water, rain, snow and drops.

use defusion_config::Degradation;
use defusion_imaging::Rng;
use defusion_imaging::degrade::Params;

use super::{SIDE, apply, drawn, flat, moments, values};

/// Black and white images under the same veil show its transmission and airlight: `J_0 = A (1 - t)`,
/// `J_1 = t + A (1 - t)`.
fn veil(category: Degradation, seed: u64) -> (Vec<f64>, Vec<f64>) {
    let op = drawn(category, seed);
    let [black, white] = [0.0, 1.0].map(|v| {
        let mut image = flat(v);
        op.apply(&mut image);
        image
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
        let mut image = flat(0.5);
        op.apply(&mut image);
        let ([_, streaks], [_, veiled]) = (moments(values(&rain)), moments(values(&image)));
        assert!(heavy.veil.beta >= 3.0 && heavy.veil.beta <= 4.2 && streaks > 0.0 && veiled > 0.0);
        // Where the veil is thickest, at depth 1, a share of exp(-beta) is left of the scene.
        let nearest = values(&image).map(|v| (v - heavy.veil.airlight).abs()).fold(1.0, f64::min);
        assert!(nearest < (-3.0f64).exp() + 0.01, "{nearest}");
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
        assert!((0.005..0.7).contains(&touched), "seed {seed}: {touched} of the image");
    }
}

#[test]
fn drops_change_only_where_they_are() {
    let mut rng = Rng::new(4, &[]);
    let scene = defusion_imaging::ground::Element::DeadLeaves.draw(SIDE, &mut rng);
    for seed in 0..20 {
        let mut seen = scene.clone();
        drawn(Degradation::Raindrop, seed).apply(&mut seen);
        let same = values(&seen).zip(values(&scene)).filter(|(a, b)| a == b).count() as f64 / scene.data().len() as f64;
        assert!((0.2..0.995).contains(&same), "seed {seed}: {same} of the image is untouched");
    }
}
