//! The sampling plan: everything random about sample `i` is a pure function of (seed, stage, i).
//!
//! There is no state to save and none to restore: sample 10^12 costs what sample 0 costs, and who computes it (which
//! rank, of how many) does not matter. What a sample is made of, given the datasets' shards:
//!
//! * its dataset: shares are kept in every aligned block of 1,000 samples, each count its share rounded up or down;
//! * its image: all images of a dataset before any comes again, in an order that stays in a few shards for long;
//! * crop, flips, chain of degradations, kind of target; and streams of randomness for all that follows.

mod epochs;
mod permutation;
mod shares;
mod spec;
mod targets;

use defusion_config::protocol::EXIT_USAGE;
use defusion_config::{Config, Degradation, Stage, TargetMix};

use epochs::Epochs;
use shares::Shares;
pub use spec::{Purpose, SampleSpec};
pub use targets::{TargetKind, indicated};

use defusion_imaging::Rng;

/// The sampling plan of one stage of a run.
#[derive(Debug)]
pub struct SamplingPlan {
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
    epochs: Epochs,
}

/// A sampling plan that cannot be made.
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

impl PlanError {
    /// Whether starting again can help: it cannot.
    pub fn is_transient(&self) -> bool {
        false
    }

    /// Exit code of a program that ends with this error.
    pub fn exit_code(&self) -> i32 {
        EXIT_USAGE
    }
}

const CHOICES: u64 = 0;
const BLOCKS: u64 = u64::MAX;
const IMAGES: u64 = u64::MAX - 1;

impl SamplingPlan {
    /// Makes the plan of a stage over datasets with shards of `shard_rows[dataset][shard]` training images, in the config's
    /// order.
    ///
    /// # Errors
    /// [`PlanError::Count`], [`PlanError::Empty`].
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
            let epochs = Epochs::new(key, rows, window);
            datasets.push(Dataset { name: set.name.clone(), chains: set.synthesize.len() as u64, epochs });
        }
        let weights: Vec<f64> = data.datasets.iter().map(|set| set.weight).collect();
        // Underwater images are what the model is tested on without training (zero-shot), unless a chain trains it.
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

    /// Returns the make-up of sample `i`; costs the same for every `i`.
    pub fn sample(&self, i: u64) -> SampleSpec {
        let place = self.shares.place(Rng::new(self.seed, &[self.stage, BLOCKS]), i);
        let set = &self.datasets[place.dataset];
        let position = set.epochs.position(place.ordinal);
        let stream = Rng::new(self.seed, &[self.stage, i]);
        let mut rng = stream.fork(CHOICES);
        SampleSpec {
            index: i,
            dataset: place.dataset,
            image: set.epochs.image(position),
            epoch: position.epoch,
            crop: [rng.f64(), rng.f64()],
            flips: [rng.chance(0.5) && self.flips, rng.chance(0.5) && self.flips],
            chain: (set.chains > 0).then(|| rng.below(set.chains) as usize),
            target: TargetKind::draw(&self.targets, &mut rng),
            natural: set.epochs.neighbour(position, &mut rng),
            stream,
        }
    }

    /// Draws the indicated set of a sample whose image is degraded by `present`, `divisible` into any of them and the rest.
    pub fn indicated(&self, spec: &SampleSpec, present: &[Degradation], divisible: bool) -> Vec<Degradation> {
        indicated(spec.target, present, divisible, &self.known, &mut spec.rng(Purpose::Indicated))
    }
}

/// One line a dataset: its share, its images, and how often each is shown in a million samples.
impl std::fmt::Display for SamplingPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (set, share) in self.datasets.iter().zip(self.shares.exact()) {
            let images = set.epochs.len();
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
mod tests;
