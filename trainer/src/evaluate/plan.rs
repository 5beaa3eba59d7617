//! What is evaluated: datasets, how their pictures are degraded, and which pictures.

use std::collections::BTreeSet;

use defusion_config::{Config, Degradation, Synthesis};
use defusion_dataloader::shard::{DatasetReader, Record};
use defusion_dataloader::{Picture, Rng, degrade};

use super::EvaluateError;

/// Seed of the synthetic degradations. Not the run's: everyone who evaluates a picture sees the same degraded one.
const DEGRADE_SEED: u64 = 0xDEF0_5104;

/// One row of the table: a dataset under one kind of degradation.
#[derive(Clone, Debug)]
pub struct Case {
    /// Name of the dataset.
    pub dataset: String,
    /// Categories joined by `+`, in the order in which they were applied.
    pub degradation: String,
    /// The same, as categories: what an oracle instruction names.
    pub categories: Vec<Degradation>,
    /// True where the degradation is applied here, false for the dataset's own pairs.
    pub synthetic: bool,
    reader: usize,
    /// Records of the dataset.
    images: Vec<usize>,
}

/// A picture to be restored, and what it should become.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub key: String,
    pub lq: Picture,
    pub hq: Picture,
    /// Seed of whatever is drawn while it is restored.
    pub seed: u64,
}

/// Opened datasets and the cases over them.
#[derive(Debug)]
pub struct Plan {
    readers: Vec<DatasetReader>,
    cases: Vec<Case>,
    /// (case, index into its images), case by case.
    items: Vec<(usize, usize)>,
    synthesis: Synthesis,
    crop: usize,
    seed: u64,
    every_category: Vec<Degradation>,
}

impl Plan {
    /// Opens `config.evaluation.datasets` beside `config.data.shards`. Where a dataset has records of a split `test`, only
    /// those are taken; `evaluation.images` of them, evenly spread. `seed` is that of grounds and of y_T.
    ///
    /// # Errors
    /// [`EvaluateError`], which names the dataset.
    pub fn open(config: &Config, seed: u64) -> Result<Self, EvaluateError> {
        if config.evaluation.datasets.is_empty() {
            return Err(EvaluateError::NoDatasets);
        }
        let (mut readers, mut cases) = (Vec::new(), Vec::new());
        for set in &config.evaluation.datasets {
            let url = format!("{}/{}", config.data.shards.trim_end_matches('/'), set.name);
            let shard = |source| EvaluateError::Shard { dataset: set.name.clone(), source };
            let reader = DatasetReader::open(&url, &config.data.cache).map_err(shard)?;
            let records: Vec<Record> = (0..reader.len()).map(|i| reader.record(i)).collect::<Result<_, _>>().map_err(shard)?;
            let tested: Vec<usize> = match records.iter().any(|r| r.split == "test") {
                true => (0..records.len()).filter(|&i| records[i].split == "test").collect(),
                false => (0..records.len()).collect(),
            };
            if tested.is_empty() {
                return Err(EvaluateError::Empty { dataset: set.name.clone(), url });
            }
            let case = |categories: Vec<Degradation>, synthetic: bool, images: Vec<usize>| Case {
                dataset: set.name.clone(),
                degradation: categories.iter().map(|c| c.name()).collect::<Vec<_>>().join("+"),
                categories,
                synthetic,
                reader: readers.len(),
                images: spread(images, config.evaluation.images),
            };
            if set.synthesize.is_empty() {
                // Pairs of one dataset can differ in what degrades them: one case for each kind.
                let kinds: BTreeSet<&[Degradation]> = tested.iter().map(|&i| records[i].degradations.as_slice()).collect();
                for kind in kinds {
                    let images: Vec<usize> = tested.iter().copied().filter(|&i| records[i].degradations == kind).collect();
                    if kind.is_empty() {
                        let key = records[images[0]].key.clone();
                        return Err(EvaluateError::NothingToRemove { dataset: set.name.clone(), key });
                    }
                    cases.push(case(kind.to_vec(), false, images));
                }
            } else {
                cases.extend(set.synthesize.iter().map(|chain| case(chain.clone(), true, tested.clone())));
            }
            readers.push(reader);
        }
        let items = cases.iter().enumerate().flat_map(|(c, case)| (0..case.images.len()).map(move |i| (c, i))).collect();
        let trained = config.data.datasets.iter().flat_map(|set| set.synthesize.iter().flatten());
        let known: BTreeSet<Degradation> =
            trained.chain(cases.iter().flat_map(|case| &case.categories)).copied().collect();
        Ok(Self {
            readers,
            cases,
            items,
            synthesis: config.data.synthesis.clone(),
            crop: config.evaluation.crop as usize,
            seed,
            every_category: known.into_iter().collect(),
        })
    }

    /// The rows of the table, in the order of the config.
    pub fn cases(&self) -> &[Case] {
        &self.cases
    }

    /// Pictures over all cases.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// True where there is nothing to restore.
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

    /// Reads one picture, cut to the centre where the config says so, and degrades it where its case says so.
    pub(super) fn sample(&self, (case, image): (usize, usize)) -> Result<Sample, EvaluateError> {
        let case = &self.cases[case];
        let index = case.images[image];
        let shard = |source| EvaluateError::Shard { dataset: case.dataset.clone(), source };
        let reader = &self.readers[case.reader];
        let record = reader.record(index).map_err(shard)?;
        let (width, height) = (record.width as usize, record.height as usize);
        let side = |n: usize| if self.crop == 0 { n } else { n.min(self.crop) };
        let (w, h) = (side(width), side(height));
        let pair = reader.crop(index, (width - w) / 2, (height - h) / 2, w, h).map_err(shard)?;
        let path = [name_hash(&case.dataset), name_hash(&case.degradation), index as u64];
        let lq = if case.synthetic {
            let mut rng = Rng::new(DEGRADE_SEED, &path);
            degrade::draw(&case.categories, &self.synthesis, defusion_config::Severity::Any, 1.0, &mut rng).apply(&pair.hq)
        } else {
            pair.lq
        };
        Ok(Sample { key: record.key, lq, hq: pair.hq, seed: Rng::new(self.seed, &path).u64() })
    }
}

/// `count` of `all`, evenly spread; 0: all.
fn spread(all: Vec<usize>, count: u64) -> Vec<usize> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count == 0 || count >= all.len() {
        return all;
    }
    (0..count).map(|i| all[i * all.len() / count]).collect()
}

/// FNV-1a, so that a picture's seed follows names and not their order in a config.
fn name_hash(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_spreads_over_the_dataset() {
        assert_eq!(spread((10..20).collect(), 0), (10..20).collect::<Vec<_>>());
        assert_eq!(spread((10..20).collect(), 3), [10, 13, 16]);
        assert_eq!(spread(vec![4, 5], 9), [4, 5]);
    }
}
