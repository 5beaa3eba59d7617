use super::*;
use crate::ground::spectrum::{self, Complex32};

fn bright(pattern: &impl Fn(f64, f64) -> f64, points: impl Iterator<Item = [f64; 2]>) -> Vec<bool> {
    points.map(|[x, y]| pattern(x, y) > 0.5).collect()
}

#[test]
fn a_star_has_its_spokes_down_to_two_pixels() {
    for spokes in [12, 37, 72] {
        let pattern = star([60.0, 66.0], f64::from(spokes), 0.4);
        for radius in [f64::from(spokes) / PI + 0.01, 55.0] {
            let around = (0..10_000).map(|i| {
                let (sin, cos) = (TAU * f64::from(i) / 10_000.0).sin_cos();
                [60.0 + radius * cos, 66.0 + radius * sin]
            });
            let ring = bright(&pattern, around);
            let edges = (0..ring.len()).filter(|i| ring[*i] != ring[(i + 1) % ring.len()]).count();
            assert_eq!(edges, 2 * spokes as usize, "at radius {radius}");
            // A spoke and its gap never take less than two pixels.
            assert!(TAU * radius / f64::from(spokes) >= 2.0);
        }
        assert_eq!(pattern(60.0, 66.0 + f64::from(spokes) / PI - 0.1), 0.5);
    }
}

#[test]
fn the_finest_zone_plate_reaches_nyquist_in_the_farthest_corner_only() {
    let (side, centre) = (128, [50.0, 70.0]);
    let k = zone_limit(side, centre);
    // Phase k r^2 grows by 2 k r per pixel along the radius; pi per pixel is Nyquist.
    let rate = |x: f64, y: f64| 2.0 * k * (x - centre[0]).hypot(y - centre[1]);
    let corners = [0.0, 127.0].map(|x| [0.0, 127.0].map(|y| rate(x, y)));
    let most = corners.iter().flatten().copied().fold(0.0, f64::max);
    assert!((most - PI).abs() < 1e-9);
    assert!(corners.iter().flatten().all(|rate| *rate <= PI + 1e-9));
    // And the pattern has those rings: sign changes from the centre to the far corner follow the phase.
    let pattern = zones(centre, k, 0.0);
    let reach = (127.0 - centre[0]).hypot(centre[1]);
    let line = bright(
        &pattern,
        (0..20_000).map(|i| {
            let t = f64::from(i) / 20_000.0;
            [centre[0] + t * (127.0 - centre[0]), centre[1] * (1.0 - t)]
        }),
    );
    let edges = line.windows(2).filter(|w| w[0] != w[1]).count();
    assert_eq!(edges, (k * reach * reach / PI + 0.5) as usize);
}

/// The frequency found in each 16-pixel patch of a rendered zone plate, against the one that belongs there: the worst
/// difference, cycles per pixel. An aliased patch shows a frequency of elsewhere.
fn worst_frequency(tile: &[f32], side: usize, [cx, cy]: [f64; 2], k: f64) -> f64 {
    const PATCH: usize = 16;
    let window = |i: usize| (0.5 - 0.5 * (TAU * (i as f64 + 0.5) / PATCH as f64).cos()) as f32;
    let mut worst = 0.0f64;
    for (x0, y0) in (0..side).step_by(PATCH).flat_map(|y| (0..side).step_by(PATCH).map(move |x| (x, y))) {
        let middle = (PATCH as f64 - 1.0) / 2.0;
        let expected = [x0 as f64 + middle - cx, y0 as f64 + middle - cy].map(|d| k * d / PI);
        if expected[0].hypot(expected[1]) < 0.1 {
            continue;
        }
        let mut values: Vec<Complex32> = (0..PATCH * PATCH)
            .map(|i| {
                let (x, y) = (i % PATCH, i / PATCH);
                Complex32::from((tile[(y0 + y) * side + x0 + x] - 0.5) * window(x) * window(y))
            })
            .collect();
        spectrum::transform(&mut values, PATCH);
        let power = |i: &usize| values[*i].norm_sqr();
        let peak = (0..PATCH * PATCH).max_by(|a, b| power(a).total_cmp(&power(b))).unwrap();
        // A real pattern has each frequency and its negative; both stand for themselves plus whole cycles.
        let off = |sign: f64| {
            let axis = |at: usize, e: f64| (at as f64 / PATCH as f64 - sign * e + 0.5).rem_euclid(1.0) - 0.5;
            axis(peak % PATCH, expected[0]).hypot(axis(peak / PATCH, expected[1]))
        };
        // Beyond Nyquist what belongs there cannot be shown.
        let beyond = if expected.iter().any(|e| e.abs() > 0.5 + 1.0 / PATCH as f64) { 1.0 } else { 0.0 };
        worst = worst.max(off(1.0).min(off(-1.0))).max(beyond);
    }
    worst
}

#[test]
fn rendered_zone_plates_show_every_frequency_where_it_belongs() {
    for seed in 0..12 {
        let mut rng = Rng::new(seed, &[]);
        let centre = centre(128, &mut rng);
        let k = zone_limit(128, centre);
        let render = |k: f64| Style { gain: 1.0 }.paint(128, zones(centre, k, 0.3)).plane(0).to_vec();
        let worst = worst_frequency(&render(k), 128, centre, k);
        assert!(worst < 1.0 / 16.0, "seed {seed}: {worst} cycles per pixel off");
        assert!(worst_frequency(&render(2.5 * k), 128, centre, 2.5 * k) > 0.5, "one that aliases is noticed");
    }
}

#[test]
fn elements_keep_their_contrast_and_both_polarities_occur() {
    let corner = |seed| Style::draw(&mut Rng::new(seed, &[])).gain;
    let gains: Vec<f64> = (0..200).map(corner).collect();
    assert!(gains.iter().all(|g| (0.3..=1.0).contains(&g.abs())));
    assert!(gains.iter().any(|g| *g > 0.0) && gains.iter().any(|g| *g < 0.0));
}

#[test]
fn slanted_edges_lean_by_five_degrees() {
    for seed in 0..8 {
        let tile = slanted_edges(128, &mut Rng::new(seed, &[]));
        let plane = tile.plane(0);
        let (low, high) = plane.iter().fold((1f32, 0f32), |(l, h), v| (l.min(*v), h.max(*v)));
        // Where the left edge crosses each of the middle rows, to a fraction of a pixel, by area.
        let outside = plane[0];
        let edge = |y: usize| {
            let share = |v: f32| f64::from((v - (low + high - outside)).abs() / (high - low));
            plane[y * 128..][..64].iter().map(|v| share(*v)).sum::<f64>()
        };
        let lean = ((edge(70) - edge(58)) / 12.0).atan().to_degrees().abs();
        assert!((lean - 5.0).abs() < 0.3, "seed {seed}: {lean}");
    }
}

#[test]
fn the_wedge_never_passes_nyquist() {
    // Phase 2 pi (x - middle) / period(y): its slope across is 2 pi / period, along it is largest beside the
    // outermost line.
    for (wide, narrow) in [(16.0, 2.5), (23.04, 2.5), (23.04, 4.0)] {
        for step in 0..=127 {
            let fall = (wide - narrow) / 127.0;
            let period: f64 = wide - fall * f64::from(step);
            let (across, along) = (1.0 / period, 2.5 * fall / period);
            assert!(across <= 0.5 && along <= 0.5, "{wide} to {narrow}, row {step}");
        }
    }
}
