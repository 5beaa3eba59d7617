//! The sampling plan: everything random about sample `i` is a pure function of (seed, stage, i).
//!
//! There is no state to save and none to restore: sample 10^12 costs what sample 0 costs, and who computes it (which
//! rank, of how many) does not matter. What a sample is made of, given the datasets' shards:
//!
//! * its dataset: shares are kept in every aligned block of 1,000 samples, each count its share rounded up or down;
//! * its image: all images of a dataset before any comes again, in an order that stays in a few shards for long;
//! * crop, flips, chain of degradations, kind of target; and streams of randomness for all that follows.

mod passes;
mod permutation;
mod shares;
mod targets;

use defusion_config::{Config, Degradation, Stage, TargetMix};

use passes::Passes;
use shares::Shares;
pub use targets::{TargetKind, indicated};

use crate::rng::Rng;

/// The plan of one stage of a run.
#[derive(Debug)]
pub struct Plan {
    seed: u64,
    stage: u64,
    datasets: Vec<Dataset>,
    shares: Shares,
    targets: TargetMix,
    flips: bool,
    known: Vec<Degradation>,
}

#[derive(Debug)]
struct Dataset {
    name: String,
    chains: u64,
    passes: Passes,
}

/// A plan that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The config has other datasets than the sizes given.
    #[error("the config has {config} datasets, but the sizes of {given} are given")]
    Count {
        /// Datasets of the config.
        config: usize,
        /// Sizes given.
        given: usize,
    },
    /// A dataset without images.
    #[error("dataset {dataset} has no training images")]
    Empty {
        /// The dataset.
        dataset: String,
    },
}

/// What a stream of randomness of a sample is for. The numbers are part of the plan: they never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Parameters and noise of the degradation chain of the picture.
    Synthesis = 1,
    /// Which categories are indicated.
    Indicated = 2,
    /// Ground, and degradations of the instruction.
    Instruction = 3,
    /// The natural element of the ground: which part of its picture.
    Natural = 4,
    /// Whether the tokenizer is shown the clean ground.
    CleanGround = 5,
}

const CHOICES: u64 = 0;
const BLOCKS: u64 = u64::MAX;
const IMAGES: u64 = u64::MAX - 1;

/// What sample `i` is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleSpec {
    /// `i`.
    pub index: u64,
    /// Position of its dataset in `data.datasets`.
    pub dataset: usize,
    /// Number of its image among the dataset's training images.
    pub image: u64,
    /// How often all images of the dataset have been shown before.
    pub pass: u64,
    /// Place of the crop, as shares of the room there is, [0, 1): across and down.
    pub crop: [f64; 2],
    /// Mirrored left and right; mirrored top and bottom.
    pub flips: [bool; 2],
    /// Which of the dataset's chains is applied; `None` where it has none and its own degraded pictures are used.
    pub chain: Option<usize>,
    /// The relation of what is indicated to what is present.
    pub target: TargetKind,
    /// Number of the image that the natural element of the ground is cut from, in the same dataset and nearby.
    pub natural: u64,
    stream: Rng,
}

impl SampleSpec {
    /// The sample's stream of randomness for a purpose.
    pub fn rng(&self, purpose: Purpose) -> Rng {
        self.stream.fork(purpose as u64)
    }

    /// Left upper corner of the crop in a picture of `width` x `height`. Where the picture is smaller than the crop: 0.
    pub fn corner(&self, width: usize, height: usize, crop: usize) -> (usize, usize) {
        let at = |share: f64, size: usize| (share * (size.saturating_sub(crop) + 1) as f64) as usize;
        (at(self.crop[0], width), at(self.crop[1], height))
    }
}

impl Plan {
    /// The plan of a stage over datasets with shards of `shard_rows[dataset][shard]` training images, in the config's
    /// order.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn new(config: &Config, stage: Stage, shard_rows: &[Vec<u64>]) -> Result<Self, PlanError> {
        let data = &config.data;
        if data.datasets.len() != shard_rows.len() {
            return Err(PlanError::Count { config: data.datasets.len(), given: shard_rows.len() });
        }
        let stage = stage as u64;
        let window = u64::from(data.loader.shuffle_window);
        let mut datasets = Vec::new();
        for (n, (set, rows)) in data.datasets.iter().zip(shard_rows).enumerate() {
            if rows.iter().sum::<u64>() == 0 {
                return Err(PlanError::Empty { dataset: set.name.clone() });
            }
            let key = Rng::new(config.seed, &[stage, IMAGES, n as u64]);
            let passes = Passes::new(key, rows, window);
            datasets.push(Dataset { name: set.name.clone(), chains: set.synthesize.len() as u64, passes });
        }
        let weights: Vec<f64> = data.datasets.iter().map(|set| set.weight).collect();
        // Underwater is what the model is tested on without training (SPEC: zero-shot), unless a chain trains it.
        let chains = || data.datasets.iter().flat_map(|set| &set.synthesize).flatten();
        let trained = |d: &Degradation| *d != Degradation::Underwater || chains().any(|c| c == d);
        Ok(Self {
            seed: config.seed,
            stage,
            datasets,
            shares: Shares::new(&weights),
            targets: data.targets,
            flips: data.flips,
            known: Degradation::ALL.into_iter().filter(trained).collect(),
        })
    }

    /// What sample `i` is made of. Costs the same for every `i`.
    pub fn sample(&self, i: u64) -> SampleSpec {
        let place = self.shares.place(Rng::new(self.seed, &[self.stage, BLOCKS]), i);
        let set = &self.datasets[place.dataset];
        let position = set.passes.position(place.ordinal);
        let stream = Rng::new(self.seed, &[self.stage, i]);
        let mut rng = stream.fork(CHOICES);
        SampleSpec {
            index: i,
            dataset: place.dataset,
            image: set.passes.image(position),
            pass: position.pass,
            crop: [rng.f64(), rng.f64()],
            flips: [rng.chance(0.5) && self.flips, rng.chance(0.5) && self.flips],
            chain: (set.chains > 0).then(|| rng.below(set.chains) as usize),
            target: TargetKind::draw(&self.targets, &mut rng),
            natural: set.passes.neighbour(position, &mut rng),
            stream,
        }
    }

    /// The indicated set of a sample whose picture is degraded by `present`, `divisible` into any of them and the rest.
    pub fn indicated(&self, spec: &SampleSpec, present: &[Degradation], divisible: bool) -> Vec<Degradation> {
        indicated(spec.target, present, divisible, &self.known, &mut spec.rng(Purpose::Indicated))
    }
}

/// One line a dataset: its share, its images, and how often each is shown in a million samples.
impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (set, share) in self.datasets.iter().zip(self.shares.exact()) {
            let images = set.passes.len();
            let shown = share * 1e6 / images as f64;
            writeln!(
                f,
                "{:<14} {:>6.2}% of samples, {images} images, each {shown:.1} times in a million samples",
                set.name,
                100.0 * share
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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

    fn plan(weights: &[f64], seed: u64, rows: &[Vec<u64>]) -> Plan {
        Plan::new(&config(weights, seed), Stage::Diffusion, rows).unwrap()
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
        fn images_come_once_a_pass(seed: u64) {
            let plan = plan(&[1.0, 3.0], seed, &[vec![30, 41], vec![200, 1, 90]]);
            let mut seen: HashMap<(usize, u64), Vec<u64>> = HashMap::new();
            for i in 0..4000 {
                let spec = plan.sample(i);
                seen.entry((spec.dataset, spec.pass)).or_default().push(spec.image);
            }
            for ((dataset, pass), mut images) in seen {
                let (n, len) = (images.len(), [71, 291][dataset]);
                images.sort_unstable();
                images.dedup();
                prop_assert_eq!(images.len(), n, "dataset {} pass {}", dataset, pass);
                prop_assert!(n <= len);
            }
        }
    }

    #[test]
    fn far_samples_are_sound_and_stages_and_seeds_differ() {
        let rows = [vec![1000; 100]];
        let far = plan(&[1.0], 1, &rows).sample(1_000_000_000_000);
        assert_eq!(far, plan(&[1.0], 1, &rows).sample(1_000_000_000_000));
        assert_eq!(far.pass, 10_000_000);
        assert!(far.image < 100_000 && far.natural < 100_000);
        let other = Plan::new(&config(&[1.0], 1), Stage::Tokenizer, &rows).unwrap();
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
        let error = Plan::new(&config(&[1.0], 1), Stage::Diffusion, &[vec![0]]).unwrap_err();
        assert_eq!(error.to_string(), "dataset s0 has no training images");
    }
}
