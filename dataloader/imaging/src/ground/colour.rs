//! Colours and greys.

use crate::degrade::light;
use crate::{Image, Rng};

/// sRGB values of the ColorChecker's 24 patches, row by row.
pub(super) const COLOR_CHECKER: [u32; 24] = [
    0x735244, 0xc29682, 0x627a9d, 0x576c43, 0x8580b1, 0x67bdaa, //
    0xd67e2c, 0x505ba6, 0xc15a63, 0x5e3c6c, 0x9dbc40, 0xe0a32e, //
    0x383d96, 0x469449, 0xaf363c, 0xe7c71f, 0xbb5695, 0x0885a1, //
    0xf3f3f2, 0xc8c8c8, 0xa0a0a0, 0x7a7a79, 0x555555, 0x343434,
];

/// Colour at (x, y), both from 0 up to 1.
fn paint(side: usize, colour: impl Fn(f64, f64) -> [f64; 3]) -> Image {
    let n = side * side;
    let mut image = Image::filled(side, side, 0.0);
    let data = image.data_mut();
    for i in 0..n {
        let rgb = colour((i % side) as f64 / side as f64, (i / side) as f64 / side as f64);
        (0..3).for_each(|c| data[c * n + i] = rgb[c] as f32);
    }
    image
}

/// Six by four patches with thin black lines between them.
pub(super) fn color_checker(side: usize) -> Image {
    paint(side, |x, y| {
        let [column, row] = [6.0 * x, 4.0 * y];
        let from_edge = |at: f64, patches: f64| at.fract().min(1.0 - at.fract()) / patches;
        if from_edge(column, 6.0).min(from_edge(row, 4.0)) < 1.0 / 128.0 {
            return [0.0; 3];
        }
        let rgb = COLOR_CHECKER[row as usize * 6 + column as usize];
        [16, 8, 0].map(|shift| f64::from((rgb >> shift) & 0xFF) / 255.0)
    })
}

/// sRGB value of step `i` of 20: densities 0.06 to 3.00 in equal steps, reflectance 10^-D.
pub(super) fn grey_step(i: usize) -> f64 {
    let density = 0.06 + (3.00 - 0.06) * i as f64 / 19.0;
    light::encode(10f64.powf(-density))
}

/// Twenty steps in five columns and four rows, back and forth, from light to dark or from dark to light.
pub(super) fn grey_scale(side: usize, rng: &mut Rng) -> Image {
    let reversed = rng.chance(0.5);
    let values: Vec<f64> = (0..20).map(|i| grey_step(if reversed { 19 - i } else { i })).collect();
    paint(side, |x, y| {
        let (column, row) = ((5.0 * x) as usize, (4.0 * y) as usize);
        let column = if row % 2 == 0 { column } else { 4 - column };
        [values[5 * row + column]; 3]
    })
}

/// Hue across and value or saturation down.
pub(super) fn ramps(side: usize, rng: &mut Rng) -> Image {
    let (phase, turned, by_value) = (rng.f64(), rng.chance(0.5), rng.chance(0.5));
    paint(side, |x, y| {
        let (along, level) = if turned { (y, x) } else { (x, y) };
        let hue = (along + phase).fract();
        if by_value { hsv(hue, 1.0, level) } else { hsv(hue, level, 1.0) }
    })
}

/// Any colour.
pub(super) fn flat(side: usize, rng: &mut Rng) -> Image {
    let rgb = [0, 1, 2].map(|_| rng.f64());
    paint(side, |_, _| rgb)
}

/// All of [0, 1] to sRGB values.
fn hsv(hue: f64, saturation: f64, value: f64) -> [f64; 3] {
    [5.0, 3.0, 1.0].map(|n| {
        let k = (n + 6.0 * hue).rem_euclid(6.0);
        value * (1.0 - saturation * k.min(4.0 - k).clamp(0.0, 1.0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_have_the_published_values() {
        let tile = color_checker(128).to_rgb8();
        for (i, rgb) in COLOR_CHECKER.into_iter().enumerate() {
            let (x, y) = ((2 * (i % 6) + 1) * 128 / 12, (2 * (i / 6) + 1) * 128 / 8);
            let [_, r, g, b] = rgb.to_be_bytes();
            assert_eq!(&tile[3 * (y * 128 + x)..][..3], [r, g, b], "patch {i}");
        }
    }

    /// The patches' CIELAB values under D50, as their maker publishes them (charts made before November 2014).
    #[rustfmt::skip]
    const LAB: [[f64; 3]; 24] = [
        [37.986, 13.555, 14.059], [65.711, 18.13, 17.81], [49.927, -4.88, -21.925],
        [43.139, -13.095, 21.905], [55.112, 8.844, -25.399], [70.719, -33.397, -0.199],
        [62.661, 36.067, 57.096], [40.02, 10.41, -45.964], [51.124, 48.239, 16.248],
        [30.325, 22.976, -21.587], [72.532, -23.709, 57.255], [71.941, 19.363, 67.857],
        [28.778, 14.179, -50.297], [55.261, -38.342, 31.37], [42.101, 53.378, 28.19],
        [81.733, 4.039, 79.819], [51.935, 49.986, -14.574], [51.038, -28.631, -28.638],
        [96.539, -0.425, 1.186], [81.257, -0.638, -0.335], [66.766, -0.734, -0.504],
        [50.867, -0.153, -0.27], [35.656, -0.421, -1.231], [20.461, -0.079, -0.973],
    ];

    /// CIELAB under D50 of an sRGB value: to XYZ, and to D50 by Bradford's adaptation (the matrix of ICC profiles).
    fn lab(rgb: u32) -> [f64; 3] {
        let linear = [16, 8, 0].map(|shift| light::decode(f64::from((rgb >> shift) & 0xFF) / 255.0));
        const TO_XYZ: [[f64; 3]; 3] =
            [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]];
        let white = [0.96422, 1.0, 0.82521];
        let [x, y, z] = [0, 1, 2].map(|i| {
            let v = (0..3).map(|j| TO_XYZ[i][j] * linear[j]).sum::<f64>() / white[i];
            if v > 216.0 / 24389.0 { v.cbrt() } else { (24389.0 / 27.0 * v + 16.0) / 116.0 }
        });
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    }

    #[test]
    fn patches_are_the_published_colours() {
        for (i, (rgb, published)) in COLOR_CHECKER.into_iter().zip(LAB).enumerate() {
            let difference = lab(rgb).iter().zip(published).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
            // Colours differ by the spread between editions of the chart, and cyan lies outside sRGB; greys do neither.
            let most = if i < 18 { 7.5 } else { 2.0 };
            assert!(difference < most, "patch {i}: {difference:.1} off {published:?}");
        }
    }

    #[test]
    fn grey_steps_are_equal_in_density() {
        let density = |i| -light::decode(grey_step(i)).log10();
        assert!((density(0) - 0.06).abs() < 1e-9 && (density(19) - 3.0).abs() < 1e-9);
        for i in 1..20 {
            assert!((density(i) - density(i - 1) - 2.94 / 19.0).abs() < 1e-9);
        }
    }

    #[test]
    fn a_grey_scale_shows_all_twenty_steps() {
        let tile = grey_scale(120, &mut Rng::new(1, &[]));
        let mut values: Vec<u32> = tile.plane(1).iter().map(|v| v.to_bits()).collect();
        values.sort_unstable();
        values.dedup();
        assert_eq!(values.len(), 20);
    }

    #[test]
    fn hues_are_those_of_the_colour_circle() {
        for (hue, rgb) in
            [(0.0, [1.0, 0.0, 0.0]), (1.0 / 3.0, [0.0, 1.0, 0.0]), (0.5, [0.0, 1.0, 1.0]), (5.0 / 6.0, [1.0, 0.0, 1.0])]
        {
            assert!(hsv(hue, 1.0, 1.0).iter().zip(rgb).all(|(a, b)| (a - b).abs() < 1e-9));
        }
        assert_eq!(hsv(0.7, 0.0, 0.6), [0.6; 3]);
    }
}
