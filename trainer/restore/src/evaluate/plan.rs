//! What is evaluated: datasets, how their images are degraded, and which images.

use std::collections::BTreeSet;
use std::hash::Hasher;

use defusion_config::{Config, DatasetUse, Degradation, Severity, Synthesis};
use defusion_dataloader::shard::{DatasetReader, ShardError};
use defusion_imaging::{Image, Rng, degrade};
use defusion_storage::join;
use fnv::FnvHasher;

use super::EvaluateError;

/// Seed of the synthetic degradations. Not the run's: everyone who evaluates an image sees the same degraded one.
const DEGRADE_SEED: u64 = 0xDEF0_5104;

/// One row of the table: a dataset's split under one kind of degradation.
#[derive(Clone, Debug)]
pub struct Case {
    /// Name of the dataset.
    pub dataset: String,
    /// Its split.
    pub split: String,
    /// Categories joined by `+`, in the order in which they were applied.
    pub degradation: String,
    /// The same, as categories: what an oracle instruction names.
    pub categories: Vec<Degradation>,
    /// True if the degradation is applied here, false for the dataset's own pairs.
    pub synthetic: bool,
    reader: usize,
    /// Records of the dataset.
    images: Vec<usize>,
}

/// An image to be restored, and what it should become.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub key: String,
    pub lq: Image,
    pub hq: Image,
    /// Seed of whatever is drawn while it is restored.
    pub seed: u64,
}

/// Opened datasets and the cases over them.
#[derive(Debug)]
pub struct EvaluationPlan {
    readers: Vec<DatasetReader>,
    cases: Vec<Case>,
    /// (case, index into its images), case by case.
    items: Vec<(usize, usize)>,
    synthesis: Synthesis,
    crop: usize,
    seed: u64,
    every_category: Vec<Degradation>,
}

impl EvaluationPlan {
    /// Opens `config.evaluation.datasets` beside `config.data.shards`. Where a dataset has splits whose names begin with
    /// `test`, only those are taken, each by itself; of every split `evaluation.images` images, evenly spread. `seed` is
    /// that of grounds and of y_T.
    ///
    /// # Errors
    /// [`EvaluateError`], which names the dataset.
    pub fn open(config: &Config, seed: u64) -> Result<Self, EvaluateError> {
        if config.evaluation.datasets.is_empty() {
            return Err(EvaluateError::NoDatasets);
        }
        let mut plan = Self {
            readers: Vec::new(),
            cases: Vec::new(),
            items: Vec::new(),
            synthesis: config.data.synthesis.clone(),
            crop: config.evaluation.crop as usize,
            seed,
            every_category: Vec::new(),
        };
        for set in &config.evaluation.datasets {
            plan.add(config, set).map_err(|error| error.of(&set.name))?;
        }
        let images = |(c, case): (usize, &Case)| (0..case.images.len()).map(move |i| (c, i)).collect::<Vec<_>>();
        plan.items = plan.cases.iter().enumerate().flat_map(images).collect();
        let trained = config.data.datasets.iter().flat_map(|set| set.synthesize.iter().flatten());
        let known: BTreeSet<Degradation> =
            trained.chain(plan.cases.iter().flat_map(|case| &case.categories)).copied().collect();
        plan.every_category = known.into_iter().collect();
        Ok(plan)
    }

    /// Adds the cases of one dataset.
    fn add(&mut self, config: &Config, set: &DatasetUse) -> Result<(), Problem> {
        let url = join(&config.data.shards, &set.name);
        let splits = DatasetReader::open(&url, &config.data.cache)?.splits();
        let tests: Vec<String> = splits.iter().filter(|split| split.starts_with("test")).cloned().collect();
        for split in if tests.is_empty() { splits } else { tests } {
            let reader = DatasetReader::open_split(&url, &split, &config.data.cache)?;
            let images = spread(reader.len(), config.evaluation.images);
            let kinds: Vec<(Vec<Degradation>, Vec<usize>)> = match set.synthesize.is_empty() {
                true => by_kind(&reader, &images)?,
                false => set.synthesize.iter().map(|chain| (chain.clone(), images.clone())).collect(),
            };
            self.cases.extend(kinds.into_iter().map(|(categories, images)| Case {
                dataset: set.name.clone(),
                split: split.clone(),
                degradation: categories.iter().map(|c| c.name()).collect::<Vec<_>>().join("+"),
                categories,
                synthetic: !set.synthesize.is_empty(),
                reader: self.readers.len(),
                images,
            }));
            self.readers.push(reader);
        }
        Ok(())
    }

    /// The rows of the table, in the order of the config.
    pub fn cases(&self) -> &[Case] {
        &self.cases
    }

    /// Images over all cases.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// True if there is nothing to restore.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Every category that is trained or evaluated: what a blind instruction names.
    pub fn every_category(&self) -> &[Degradation] {
        &self.every_category
    }

    pub(super) fn items(&self) -> &[(usize, usize)] {
        &self.items
    }

    /// Reads one image, cut to the centre if the config says so, and degrades it if its case says so.
    pub(super) fn sample(&self, (case, image): (usize, usize)) -> Result<Sample, EvaluateError> {
        let case = &self.cases[case];
        let index = case.images[image];
        let shard = |source| EvaluateError::Shard { dataset: case.dataset.clone(), source };
        let reader = &self.readers[case.reader];
        let record = reader.record(index).map_err(shard)?;
        let side = |n: usize| if self.crop == 0 { n } else { n.min(self.crop) };
        let (w, h) = (side(record.width), side(record.height));
        let pair = reader.crop(index, (record.width - w) / 2, (record.height - h) / 2, w, h).map_err(shard)?;
        let path = [name_hash(&case.dataset), name_hash(&case.split), name_hash(&case.degradation), index as u64];
        let lq = if case.synthetic {
            let mut rng = Rng::new(DEGRADE_SEED, &path);
            degrade::draw(&case.categories, &self.synthesis, Severity::Any, 1.0, &mut rng).apply(&pair.hq)
        } else {
            pair.lq
        };
        Ok(Sample { key: record.key, lq, hq: pair.hq, seed: Rng::new(self.seed, &path).u64() })
    }
}

/// Degradations, and the numbers of the images that have just these.
type Kind = (Vec<Degradation>, Vec<usize>);

/// The images of a dataset's own pairs by what degrades them, which can differ from pair to pair.
fn by_kind(reader: &DatasetReader, images: &[usize]) -> Result<Vec<Kind>, Problem> {
    let mut kinds: Vec<Kind> = Vec::new();
    for &i in images {
        let record = reader.record(i)?;
        if !record.has_lq || record.degradations.is_empty() {
            return Err(Problem::NothingToRemove(record.key));
        }
        match kinds.iter_mut().find(|(kind, _)| *kind == record.degradations) {
            Some((_, images)) => images.push(i),
            None => kinds.push((record.degradations, vec![i])),
        }
    }
    Ok(kinds)
}

/// `count` numbers below `len`, evenly spread; 0: all.
fn spread(len: usize, count: u64) -> Vec<usize> {
    match usize::try_from(count) {
        Ok(count) if count > 0 && count < len => (0..count).map(|i| i * len / count).collect(),
        _ => (0..len).collect(),
    }
}

/// An error of a dataset that has not been named yet.
enum Problem {
    Shard(ShardError),
    NothingToRemove(String),
}

impl From<ShardError> for Problem {
    fn from(error: ShardError) -> Self {
        Self::Shard(error)
    }
}

impl Problem {
    fn of(self, dataset: &str) -> EvaluateError {
        let dataset = dataset.to_owned();
        match self {
            Self::Shard(source) => EvaluateError::Shard { dataset, source },
            Self::NothingToRemove(key) => EvaluateError::NothingToRemove { dataset, key },
        }
    }
}

/// FNV-1a, so that an image's seed follows names and not their order in a config.
fn name_hash(name: &str) -> u64 {
    let mut hasher = FnvHasher::default();
    hasher.write(name.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_spreads_over_the_dataset() {
        assert_eq!(spread(4, 0), [0, 1, 2, 3]);
        assert_eq!(spread(10, 3), [0, 3, 6]);
        assert_eq!(spread(2, 9), [0, 1]);
    }
}
