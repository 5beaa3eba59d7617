//! Grounds and instructions from outside: composition, the user's folders, and pairs that line up.

use defusion_config::{Degradation, GroundKind, Grounds, Severity, Synthesis};
use defusion_imaging::ground::{GroundError, Pool};
use defusion_imaging::instruction::{self, Instruction};
use defusion_imaging::{Image, Rng};

fn pool(grounds: Grounds) -> Pool {
    Pool::open(&grounds).unwrap()
}

fn make(pool: &Pool, categories: &[Degradation], seed: u64) -> Instruction {
    let rng = &mut Rng::new(seed, &[]);
    instruction::make(pool, &Synthesis::default(), categories, Severity::Any, None, rng)
}

fn is_8_bit(image: &Image) -> bool {
    let mut rounded = image.clone();
    rounded.quantize();
    rounded == *image
}

/// An image that no procedural element looks like: pure red.
fn red(side: usize) -> Image {
    let mut image = Image::filled(side, side, 0.0);
    image.data_mut()[..side * side].fill(1.0);
    image
}

/// The quadrants of a canvas that are all red.
fn red_quadrants(canvas: &Image) -> Vec<usize> {
    let side = canvas.width() / 2;
    (0..4).filter(|i| canvas.crop(i % 2 * side, i / 2 * side, side, side).unwrap() == red(side)).collect()
}

#[test]
fn one_quadrant_is_natural_and_it_moves() {
    let pool = pool(Grounds::default());
    let mut seen = [false; 4];
    for seed in 0..40 {
        let canvas = pool.draw(Some(&red(300)), &mut Rng::new(seed, &[]));
        assert_eq!((canvas.width(), canvas.height()), (256, 256));
        assert!(is_8_bit(&canvas));
        let natural = red_quadrants(&canvas);
        assert_eq!(natural.len(), 1, "seed {seed}");
        seen[natural[0]] = true;
    }
    assert_eq!(seen, [true; 4]);
}

#[test]
fn grounds_scale_down_for_tiny_models() {
    let pool = pool(Grounds { canvas: 40, size: 32, ..Grounds::default() });
    for seed in 0..60 {
        let pair = make(&pool, &[Degradation::ALL[seed as usize % 13]], seed);
        assert_eq!((pair.v.width(), pair.v.height(), pair.null.width()), (32, 32, 32));
        assert!(pair.v.data().iter().all(|v| v.is_finite()));
    }
}

#[test]
fn ablation_grounds_are_flat_and_striped() {
    let rng = &mut Rng::new(1, &[]);
    let blank = pool(Grounds { kind: GroundKind::Blank, ..Grounds::default() }).draw(None, rng);
    assert!(blank.to_rgb8().iter().all(|v| *v == 128));
    let simple = pool(Grounds { kind: GroundKind::Simple, ..Grounds::default() }).draw(None, rng);
    for (i, v) in simple.data().iter().enumerate() {
        assert_eq!(*v, (i % 256 / 16 % 2) as f32);
    }
}

#[test]
fn the_users_folders_are_used() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("red.png");
    image::save_buffer(&file, &red(200).to_rgb8(), 200, 200, image::ExtendedColorType::Rgb8).unwrap();
    std::fs::write(folder.path().join("notes.txt"), "not an image").unwrap();
    let path = Some(folder.path().to_str().unwrap().to_owned());
    let natural = pool(Grounds { natural: path.clone(), ..Grounds::default() });
    let charts = pool(Grounds { charts: path, ..Grounds::default() });
    let counts = |pool: &Pool| (0..100).map(|s| red_quadrants(&pool.draw(None, &mut Rng::new(s, &[]))).len()).sum();
    // Always for natural textures, which the user's images replace; every other time for charts.
    assert_eq!(counts(&natural), 100);
    let charts: usize = counts(&charts);
    assert!((30..=70).contains(&charts), "{charts} of 100");
}

#[test]
fn bad_folders_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let grounds =
        |path: &std::path::Path| Grounds { natural: Some(path.to_str().unwrap().into()), ..Grounds::default() };
    let error = Pool::open(&grounds(folder.path())).unwrap_err();
    assert!(
        matches!(error, GroundError::Empty { .. }) && error.to_string().contains("data.grounds.natural"),
        "{error}"
    );
    let error = Pool::open(&grounds(&folder.path().join("missing"))).unwrap_err();
    assert!(matches!(error, GroundError::List { .. }) && error.to_string().contains("missing"), "{error}");
    std::fs::write(folder.path().join("broken.png"), b"\x89PNG\r\n\x1a\nand then nothing").unwrap();
    let error = Pool::open(&grounds(folder.path())).unwrap_err();
    assert!(matches!(error, GroundError::Decode { .. }) && error.to_string().contains("broken.png"), "{error}");
}

#[test]
fn instruction_and_null_show_the_same_part() {
    // A blank ground under nothing is itself; on any other ground an empty list of categories changes nothing.
    let pool = pool(Grounds::default());
    let mut crops = Vec::new();
    for seed in 0..20 {
        let pair = make(&pool, &[], seed);
        assert_eq!(pair.v, pair.null);
        assert_eq!((pair.v.width(), pair.v.height()), (224, 224));
        // The same seed gives the same ground and crop whatever the degradation; noise stays near it pixel by pixel.
        let noisy = make(&pool, &[Degradation::GaussianNoise], seed);
        assert_eq!(noisy.null, pair.null);
        let mean = |p: &Image| p.data().iter().sum::<f32>() / p.data().len() as f32;
        assert!((mean(&noisy.v) - mean(&pair.v)).abs() < 0.05);
        assert!(is_8_bit(&noisy.v) && is_8_bit(&noisy.null));
        crops.push(pair.null);
    }
    crops.dedup();
    assert_eq!(crops.len(), 20);
}

#[test]
fn instruction_and_null_line_up_pixel_by_pixel() {
    let pool = pool(Grounds::default());
    let mut synthesis = Synthesis::default();
    synthesis.gaussian_noise.sigma = [1.0, 1.0];
    for seed in 0..20 {
        let rng = &mut Rng::new(seed, &[]);
        let pair = instruction::make(&pool, &synthesis, &[Degradation::GaussianNoise], Severity::Any, None, rng);
        let worst = pair.v.data().iter().zip(pair.null.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // Six standard deviations of one level, and rounding.
        assert!(worst > 0.0 && worst * 255.0 < 7.0, "seed {seed}: {worst}");
    }
}

#[test]
fn inference_takes_the_centre() {
    let pool = pool(Grounds::default());
    let rng = Rng::new(7, &[]);
    let pair = instruction::centered(
        &pool,
        &Synthesis::default(),
        &[Degradation::Rain],
        Severity::Heavy,
        None,
        &mut rng.clone(),
    );
    let again = instruction::centered(
        &pool,
        &Synthesis::default(),
        &[Degradation::Haze],
        Severity::Light,
        None,
        &mut rng.clone(),
    );
    assert_eq!(pair.null, again.null, "the ground does not depend on what degrades it");
    assert_ne!(pair.v, again.v);
    // The training crops of the same canvas overlap it: the centre crop's middle is in every one of them.
    let trained =
        instruction::make(&pool, &Synthesis::default(), &[Degradation::Rain], Severity::Heavy, None, &mut rng.clone());
    let mut middle = pair.null.crop(32, 32, 160, 160).unwrap();
    let found = |middle: &Image| {
        (0..=64).any(|i| (0..=64).any(|j| matches!(trained.null.crop(i, j, 160, 160), Some(c) if c == *middle)))
    };
    let unflipped = found(&middle);
    middle.flip_horizontal();
    assert!(unflipped || found(&middle));
}

#[test]
fn an_instruction_takes_one_draw_from_its_stream() {
    let pool = pool(Grounds { canvas: 40, size: 32, ..Grounds::default() });
    let after = |categories: &[Degradation]| {
        let mut rng = Rng::new(9, &[]);
        instruction::make(&pool, &Synthesis::default(), categories, Severity::Any, None, &mut rng);
        rng.u64()
    };
    assert_eq!(after(&[]), after(&Degradation::ALL));
}
