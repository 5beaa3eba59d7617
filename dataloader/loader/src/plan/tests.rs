use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

fn config(weights: &[f64], seed: u64) -> Config {
    let sets: String = weights
        .iter()
        .enumerate()
        .map(|(n, w)| format!("    - {{name: s{n}, weight: {w}, synthesize: [[rain], [snow, jpeg]]}}\n"))
        .collect();
    let text = format!(
        "name: t\nrun: r\nseed: {seed}\ndata:\n  shards: x\n  loader: {{shuffle_window: 64}}\n  datasets:\n{sets}\
         tokenizer: {{perceptual_weight: 0}}\n"
    );
    defusion_config::Resolved::parse(&text, std::path::Path::new("t.yaml"), &[]).unwrap().config
}

fn plan(weights: &[f64], seed: u64, rows: &[Vec<u64>]) -> SamplingPlan {
    SamplingPlan::new(&config(weights, seed), Stage::Diffusion, rows).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the world size and wherever the run is resumed, the samples of its steps are the same.
    #[test]
    fn the_world_makes_no_difference(seed: u64, resume in 0u64..1 << 45, weight in 0.1..9.0f64) {
        let rows = [vec![30, 40], vec![17]];
        let whole = plan(&[1.0, weight], seed, &rows);
        let batch = 24;
        let first: Vec<SampleSpec> = (resume * batch..(resume + 9) * batch).map(|i| whole.sample(i)).collect();
        for world in [1, 2, 3, 8] {
            // Each rank has a plan of its own, made anew after a resume in the middle.
            let mut got = HashMap::new();
            for rank in 0..world {
                let mut own = plan(&[1.0, weight], seed, &rows);
                for step in resume..resume + 9 {
                    if step == resume + 4 {
                        own = plan(&[1.0, weight], seed, &rows);
                    }
                    let slice = batch / world;
                    let from = step * batch + rank * slice;
                    for i in from..from + slice {
                        prop_assert!(got.insert(i, own.sample(i)).is_none());
                    }
                }
            }
            prop_assert_eq!(got.len(), first.len());
            prop_assert!(first.iter().all(|spec| got[&spec.index] == *spec));
        }
    }

    #[test]
    fn images_come_once_an_epoch(seed: u64) {
        let plan = plan(&[1.0, 3.0], seed, &[vec![30, 41], vec![200, 1, 90]]);
        let mut seen: HashMap<(usize, u64), Vec<u64>> = HashMap::new();
        for i in 0..4000 {
            let spec = plan.sample(i);
            seen.entry((spec.dataset, spec.epoch)).or_default().push(spec.image);
        }
        for ((dataset, epoch), mut images) in seen {
            let (n, len) = (images.len(), [71, 291][dataset]);
            images.sort_unstable();
            images.dedup();
            prop_assert_eq!(images.len(), n, "dataset {} epoch {}", dataset, epoch);
            prop_assert!(n <= len);
        }
    }
}

#[test]
fn far_samples_are_sound_and_stages_and_seeds_differ() {
    let rows = [vec![1000; 100]];
    let far = plan(&[1.0], 1, &rows).sample(1_000_000_000_000);
    assert_eq!(far, plan(&[1.0], 1, &rows).sample(1_000_000_000_000));
    assert_eq!(far.epoch, 10_000_000);
    assert!(far.image < 100_000 && far.natural < 100_000);
    let other = SamplingPlan::new(&config(&[1.0], 1), Stage::Tokenizer, &rows).unwrap();
    assert_ne!(far.crop, other.sample(far.index).crop);
    assert_ne!(far.crop, plan(&[1.0], 2, &rows).sample(far.index).crop);
}

#[test]
fn corners_reach_everywhere_and_stay_inside() {
    let plan = plan(&[1.0], 1, &[vec![10]]);
    let mut seen = std::collections::BTreeSet::new();
    for i in 0..4000 {
        let spec = plan.sample(i);
        let (x, y) = spec.corner(12, 8, 8);
        assert!(x <= 4 && y == 0);
        assert_eq!(spec.corner(3, 8, 8), (0, 0));
        seen.insert((x, spec.flips, spec.chain, spec.target == TargetKind::All));
    }
    assert_eq!(seen.len(), 5 * 4 * 2 * 2);
}

#[test]
fn shares_are_told_and_empty_sets_refused() {
    let plan = plan(&[3.0, 1.0], 1, &[vec![10], vec![5]]);
    assert_eq!(
        plan.to_string().lines().next().unwrap(),
        "s0              75.00% of samples, 10 images, each 75000.0 times in a million samples"
    );
    let error = SamplingPlan::new(&config(&[1.0], 1), Stage::Diffusion, &[vec![0]]).unwrap_err();
    assert_eq!(error.to_string(), "dataset s0 has no training images");
}
