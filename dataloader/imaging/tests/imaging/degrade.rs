//! Chains and targets: what must hold for every degradation, whatever its parameters.

use defusion_config::{Degradation, Severity, Synthesis};
use defusion_imaging::degrade::{self, Chain};
use defusion_imaging::ground::Element;
use defusion_imaging::{Image, Rng};
use proptest::prelude::*;

/// Not a multiple of anything, and with values that are no 8-bit levels.
fn image(seed: u64) -> Image {
    let leaves = Element::DeadLeaves.draw(48, &mut Rng::new(seed, &[]));
    leaves.crop(0, 0, 45, 37).unwrap()
}

fn rounded(image: &Image) -> Image {
    let mut image = image.clone();
    image.quantize();
    image
}

fn chain(categories: &[Degradation], seed: u64) -> Chain {
    degrade::draw(categories, &Synthesis::default(), Severity::Any, 1.0, &mut Rng::new(seed, &[]))
}

fn category() -> impl Strategy<Value = Degradation> {
    (0..Degradation::ALL.len()).prop_map(|i| Degradation::ALL[i])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// y0 = x_LQ - T_v(x_LQ) is exactly 0 where nothing that is present is indicated, and exactly x_LQ - x_HQ where
    /// everything is.
    #[test]
    fn targets_are_exact(
        present in prop::collection::vec(category(), 1..4),
        indicated in prop::collection::vec(category(), 0..5),
        seed in any::<u64>(),
    ) {
        let clean = image(seed);
        let chain = chain(&present, seed);
        let degraded = chain.apply(&clean);
        prop_assert_eq!(chain.apply_without(&clean, &[]), degraded.clone());
        let disjoint: Vec<_> = indicated.iter().copied().filter(|d| !present.contains(d)).collect();
        prop_assert_eq!(chain.apply_without(&clean, &disjoint), degraded.clone());
        let superset = [present.as_slice(), &indicated].concat();
        prop_assert_eq!(chain.apply_without(&clean, &superset), rounded(&clean));
        prop_assert_eq!(chain.apply_without(&clean, &present), rounded(&clean));
        // y0 itself, as training takes it.
        let y0 = |left: &Image| degraded.data().iter().zip(left.data()).map(|(q, t)| q - t).collect::<Vec<_>>();
        prop_assert!(y0(&chain.apply_without(&clean, &disjoint)).iter().all(|v| *v == 0.0));
        prop_assert_eq!(y0(&chain.apply_without(&clean, &superset)), y0(&rounded(&clean)));
        let both = (degraded, chain.apply_without(&clean, &indicated));
        prop_assert_eq!(chain.apply_both(&clean, &indicated), both);
    }

    /// What is left of a chain is rendered as it would be alone: same order, same parameters, same noise.
    #[test]
    fn what_remains_is_unchanged(present in prop::collection::vec(category(), 2..5), seed in any::<u64>()) {
        let clean = image(seed);
        let chain = chain(&present, seed);
        let left = chain.ops().iter().filter(|op| op.category() != present[0]).cloned().collect();
        prop_assert_eq!(chain.apply_without(&clean, &present[..1]), Chain::new(left).apply(&clean));
    }

    /// Results are images of 8-bit values of the same size, the same each time.
    #[test]
    fn results_are_8_bit_and_replayable(present in prop::collection::vec(category(), 1..4), seed in any::<u64>()) {
        let clean = image(seed);
        let degraded = chain(&present, seed).apply(&clean);
        prop_assert_eq!((degraded.width(), degraded.height()), (clean.width(), clean.height()));
        prop_assert!(degraded.data().iter().all(|v| (0.0..=1.0).contains(v)));
        prop_assert_eq!(&rounded(&degraded), &degraded);
        prop_assert_eq!(chain(&present, seed).apply(&clean), degraded);
    }
}

#[test]
fn every_category_makes_a_visible_difference_that_grows_with_severity() {
    let clean = rounded(&Element::DeadLeaves.draw(128, &mut Rng::new(5, &[])));
    for category in Degradation::ALL {
        let difference = |severity| {
            let mean = |seed| {
                let rng = &mut Rng::new(seed, &[]);
                let degraded = degrade::draw(&[category], &Synthesis::default(), severity, 1.0, rng).apply(&clean);
                let squares = degraded.data().iter().zip(clean.data()).map(|(a, b)| f64::from(a - b).powi(2));
                squares.sum::<f64>() / clean.data().len() as f64
            };
            (0..12).map(mean).sum::<f64>() / 12.0
        };
        let [light, medium, heavy] = [Severity::Light, Severity::Medium, Severity::Heavy].map(difference);
        assert!(light > 1e-5, "{category}: light changes {light}");
        assert!(light < medium && medium < heavy, "{category}: {light} {medium} {heavy}");
    }
}

#[test]
fn tiny_images_survive_everything() {
    for (width, height) in [(0, 0), (1, 1), (1, 9), (2, 2), (3, 1), (7, 5)] {
        for category in Degradation::ALL {
            for seed in 0..4 {
                let clean = Image::filled(width, height, 0.5);
                let degraded = chain(&[category], seed).apply(&clean);
                assert_eq!((degraded.width(), degraded.height()), (width, height));
                assert!(degraded.data().iter().all(|v| v.is_finite()), "{category} at {width} x {height}");
            }
        }
    }
}

#[test]
fn the_mixed_set_comes_in_all_orders() {
    use Degradation::{GaussianNoise, Rain, Snow};
    let clean = image(1);
    for order in [
        [Rain, GaussianNoise, Snow],
        [Rain, Snow, GaussianNoise],
        [GaussianNoise, Snow, Rain],
        [GaussianNoise, Rain, Snow],
        [Snow, Rain, GaussianNoise],
        [Snow, GaussianNoise, Rain],
    ] {
        let chain = chain(&order, 3);
        assert_eq!(chain.categories(), order);
        // Order matters: snow over noise hides it, noise over snow does not.
        let mut reversed = chain.ops().to_vec();
        reversed.reverse();
        assert_ne!(chain.apply(&clean), Chain::new(reversed).apply(&clean));
    }
}
