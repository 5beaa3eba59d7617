use super::*;

/// Mean power of the frequencies whose distance from 0 is in [low, high), with a Hann window against leakage.
fn power(plane: &[f32], side: usize, [low, high]: [f64; 2]) -> f64 {
    let window = |i: usize| 0.5 - 0.5 * (std::f32::consts::TAU * (i as f32 + 0.5) / side as f32).cos();
    let mean = plane.iter().sum::<f32>() / plane.len() as f32;
    let mut values: Vec<Complex32> = plane
        .iter()
        .enumerate()
        .map(|(i, v)| Complex32::from((v - mean) * window(i % side) * window(i / side)))
        .collect();
    spectrum::transform(&mut values, side);
    let frequency = |k: usize| k.min(side - k) as f64;
    let (mut sum, mut count) = (0.0, 0);
    for (i, value) in values.into_iter().enumerate() {
        if (low..high).contains(&frequency(i % side).hypot(frequency(i / side))) {
            sum += f64::from(value.norm_sqr());
            count += 1;
        }
    }
    sum / f64::from(count)
}

/// Slope of log power over log frequency between 4 and 48 cycles of a 128-pixel tile, averaged over draws.
fn slope(draw: impl Fn(u64) -> Vec<f32>) -> f64 {
    let bands: Vec<[f64; 2]> = (0..7).map(|i| [4.0 * 1.426f64.powi(i), 4.0 * 1.426f64.powi(i + 1)]).collect();
    let mut powers = vec![0.0; bands.len()];
    for seed in 0..16 {
        let plane = draw(seed);
        powers.iter_mut().zip(&bands).for_each(|(sum, band)| *sum += power(&plane, 128, *band));
    }
    let points: Vec<[f64; 2]> =
        bands.iter().zip(powers).map(|([low, high], p)| [(low * high).sqrt().ln(), p.ln()]).collect();
    let n = points.len() as f64;
    let [mx, my] = [0, 1].map(|i| points.iter().map(|p| p[i]).sum::<f64>() / n);
    points.iter().map(|[x, y]| (x - mx) * (y - my)).sum::<f64>()
        / points.iter().map(|[x, _]| (x - mx).powi(2)).sum::<f64>()
}

#[test]
fn power_law_noise_has_the_stated_slope() {
    for exponent in [0.0, 0.5, 1.0, 2.0] {
        let found = slope(|seed| power_law(128, exponent, &mut Rng::new(seed, &[])).into_iter().next().unwrap());
        assert!((found + exponent).abs() < 0.1, "1/f^{exponent}: slope {found}");
    }
}

/// Power of fractional Brownian motion in the plane falls as f^-(2 H + 2).
#[test]
fn fractal_noise_has_the_slope_of_its_gain() {
    for hurst in [0.2f64, 0.8] {
        let noise = ValueNoise { coarsest: 64.0, finest: 2.0, gain: 2f64.powf(-hurst) };
        let found = slope(|seed| noise.field(128, 128, &mut Rng::new(seed, &[])).to_vec());
        assert!((found + 2.0 * hurst + 2.0).abs() < 0.5, "H {hurst}: slope {found}");
    }
}

#[test]
fn leaf_radii_follow_the_inverse_cube() {
    let mut rng = Rng::new(1, &[]);
    let n = 200_000;
    let radii: Vec<f64> = (0..n).map(|_| leaf_radius(LEAF_RADII, &mut rng)).collect();
    assert!(radii.iter().all(|r| (2.0..=40.0).contains(r)));
    for limit in [2.5, 4.0, 8.0, 20.0f64] {
        let share = radii.iter().filter(|r| **r < limit).count() as f64 / f64::from(n);
        let expected = (0.25 - limit.powi(-2)) / (0.25 - 40f64.powi(-2));
        assert!((share - expected).abs() < 0.005, "below {limit}: {share}, {expected}");
    }
}

/// Two points at distance d lie on one leaf with probability g(d) / (2 g(0) - g(d)), where g is the mean area that a
/// leaf and itself moved by d have in common (Matheron; Lee, Mumford and Huang, 2001, section 3).
#[test]
fn tiles_have_the_covariance_of_their_size_law() {
    let common = |d: f64| {
        let n = 20_000;
        let [low, high] = LEAF_RADII;
        let area = |i: usize| {
            let r = low * (high / low).powf((i as f64 + 0.5) / n as f64);
            let half = (d / 2.0).min(r);
            // Density r^-3 on a logarithmic grid.
            r.powi(-2) * (2.0 * r * r * (half / r).acos() - 2.0 * half * (r * r - half * half).sqrt())
        };
        (0..n).map(area).sum::<f64>()
    };
    let tiles: Vec<Image> = (0..48).map(|seed| coloured_leaves(128, &mut Rng::new(seed, &[]))).collect();
    for d in [2, 4, 8, 16] {
        let expected = common(d as f64) / (2.0 * common(0.0) - common(d as f64));
        let rows = || tiles.iter().flat_map(|tile| tile.plane(0).chunks_exact(128));
        let same = rows().flat_map(|row| row.iter().zip(&row[d..])).filter(|(a, b)| a == b).count();
        let share = same as f64 / (rows().count() * (128 - d)) as f64;
        assert!((share - expected).abs() < 0.03, "at {d} px: {share}, {expected}");
    }
}

#[test]
fn white_noise_is_white() {
    let found = slope(|seed| white_noise(128, &mut Rng::new(seed, &[])).plane(0).to_vec());
    assert!(found.abs() < 0.1, "slope {found}");
}

#[test]
fn leaves_fill_the_tile_with_values_of_their_range() {
    for seed in 0..5 {
        let tile = dead_leaves(128, &mut Rng::new(seed, &[]));
        assert!(tile.data().iter().all(|v| (0.25..=0.75).contains(v)));
        // A leaf is one value: neighbours are mostly equal, and many values occur.
        let plane = tile.plane(0);
        let equal = plane.windows(2).filter(|w| w[0] == w[1]).count();
        let mut distinct: Vec<u32> = plane.iter().map(|v| v.to_bits()).collect();
        distinct.sort_unstable();
        distinct.dedup();
        assert!(equal > plane.len() / 2 && distinct.len() > 200, "{equal} {}", distinct.len());
    }
}
