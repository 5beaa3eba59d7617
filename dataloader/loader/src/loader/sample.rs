//! Making one sample.

use defusion_config::{Config, Degradation, GroundKind, Severity, Stage, Synthesis};

use super::batch::{Batch, Label, Slot};
use super::error::LoadError;
use super::pad::{reflect_pad, write};
use super::siblings::Siblings;
use crate::plan::{Purpose, SampleSpec, SamplingPlan};
use crate::shard::{DatasetReader, Record, ShardError};
use defusion_imaging::{Image, degrade, ground, instruction};

/// The split that training reads.
pub(crate) const SPLIT: &str = "train";

/// Makes samples; shared by all threads of a loader.
#[derive(Debug)]
pub(crate) struct Sampler {
    stage: Stage,
    crop: usize,
    clean_ground: f64,
    synthesis: Synthesis,
    datasets: Vec<Dataset>,
    plan: SamplingPlan,
    pool: ground::Pool,
    /// Whether grounds show a part of a training image.
    natural: bool,
}

#[derive(Debug)]
struct Dataset {
    name: String,
    chains: Vec<Vec<Degradation>>,
    reader: DatasetReader,
    siblings: Siblings,
}

impl Sampler {
    pub(crate) fn open(config: &Config, stage: Stage) -> Result<Self, LoadError> {
        let data = &config.data;
        let open = |set: &defusion_config::DatasetUse| {
            let url = defusion_storage::join(&data.shards, &set.name);
            let open = DatasetReader::open_split(&url, SPLIT, &data.cache)
                .and_then(|reader| Ok((Siblings::find(&reader, SPLIT)?, reader)));
            let (siblings, reader) = open.map_err(|source| LoadError::Dataset { dataset: set.name.clone(), source })?;
            Ok::<_, LoadError>(Dataset { name: set.name.clone(), chains: set.synthesize.clone(), reader, siblings })
        };
        let datasets = data.datasets.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let remote = datasets.iter().filter(|set| set.reader.is_remote());
        let sizes: Vec<[u64; 2]> = remote.map(|set| [set.reader.len() as u64, set.reader.bytes()]).collect();
        if let Some(warning) = small_cache(&sizes, data.loader.shuffle_window, data.cache.max_gib) {
            tracing::warn!("{warning}");
        }
        let rows: Vec<Vec<u64>> = datasets.iter().map(|set| set.reader.shard_rows()).collect();
        Ok(Self {
            stage,
            crop: if stage == Stage::Diffusion { data.crop as usize } else { 0 },
            clean_ground: config.tokenizer.clean_ground,
            synthesis: data.synthesis.clone(),
            plan: SamplingPlan::new(config, stage, &rows)?,
            pool: ground::Pool::open(&data.grounds)?,
            natural: data.grounds.kind == GroundKind::Composed && data.grounds.natural.is_none(),
            datasets,
        })
    }

    pub(crate) fn plan(&self) -> &SamplingPlan {
        &self.plan
    }

    pub(crate) fn is_remote(&self) -> bool {
        self.datasets.iter().any(|set| set.reader.is_remote())
    }

    /// Fetches the shards that sample `i` needs. Errors are left to the sample's own turn.
    pub(crate) fn prefetch(&self, i: u64) {
        let spec = self.plan.sample(i);
        let reader = &self.datasets[spec.dataset].reader;
        let _ = reader.prefetch(spec.image as usize);
        if self.natural {
            let _ = reader.prefetch(spec.natural as usize);
        }
    }

    /// Memory for `len` samples.
    pub(crate) fn memory(&self, first_sample: u64, len: usize) -> Batch {
        Batch::zeros(first_sample, len, self.crop, self.pool.size())
    }

    /// Makes sample `i`.
    pub(crate) fn make(&self, i: u64, slot: Slot) -> Result<Label, LoadError> {
        let spec = self.plan.sample(i);
        let set = &self.datasets[spec.dataset];
        let failed = |source| LoadError::Sample { sample: i, dataset: set.name.clone(), source };
        let record = set.reader.record(spec.image as usize).map_err(failed)?;
        let chain = spec.chain.map(|n| &set.chains[n]);
        if chain.is_none() && !record.has_lq {
            return Err(LoadError::CleanOnly { dataset: set.name.clone(), key: record.key });
        }
        let present = chain.unwrap_or(&record.degradations).clone();
        let indicated =
            self.plan.indicated(&spec, &present, chain.is_some() || set.siblings.divides(spec.image as usize));
        if self.stage == Stage::Diffusion {
            let (lq, target) = match chain {
                Some(chain) => self.synthetic(&spec, set, &record, chain, &indicated),
                None => self.real(&spec, set, &record, &present, &indicated),
            }
            .map_err(failed)?;
            write(&lq, slot.lq);
            write(&target, slot.target);
        }
        let natural = self.natural.then(|| self.natural(&spec, set)).transpose().map_err(failed)?;
        let rng = &mut spec.rng(Purpose::Instruction);
        let made = instruction::make(&self.pool, &self.synthesis, &indicated, Severity::Any, natural.as_ref(), rng);
        let clean = self.stage == Stage::Tokenizer && spec.rng(Purpose::CleanGround).chance(self.clean_ground);
        write(if clean { &made.null } else { &made.v }, slot.instruction);
        write(&made.null, slot.null_ground);
        Ok(Label { dataset: set.name.clone(), key: record.key, present, indicated })
    }

    /// The dataset's clean image, degraded here: x_LQ and T_v(x_LQ).
    fn synthetic(
        &self,
        spec: &SampleSpec,
        set: &Dataset,
        record: &Record,
        chain: &[Degradation],
        indicated: &[Degradation],
    ) -> Result<(Image, Image), ShardError> {
        let (x, y, w, h) = self.part(spec, record);
        let hq = self.placed(spec, set.reader.crop_hq(spec.image as usize, x, y, w, h)?);
        let rng = &mut spec.rng(Purpose::Synthesis);
        let chain = degrade::draw(chain, &self.synthesis, Severity::Any, 1.0, rng);
        Ok(chain.apply_both(&hq, indicated))
    }

    /// The dataset's own degraded image, and what it would be without those indicated: the clean image if they
    /// are all of them, itself if they are none, else the image of the same scene with what is left.
    fn real(
        &self,
        spec: &SampleSpec,
        set: &Dataset,
        record: &Record,
        present: &[Degradation],
        indicated: &[Degradation],
    ) -> Result<(Image, Image), ShardError> {
        let (x, y, w, h) = self.part(spec, record);
        let lq = self.placed(spec, set.reader.crop_lq(spec.image as usize, x, y, w, h)?);
        let left: Vec<Degradation> = present.iter().copied().filter(|d| !indicated.contains(d)).collect();
        let target = match set.siblings.with(spec.image as usize, &left) {
            _ if left.len() == present.len() => lq.clone(),
            Some(sibling) => self.placed(spec, set.reader.crop_lq(sibling, x, y, w, h)?),
            // The plan divides only what has siblings.
            None => self.placed(spec, set.reader.crop_hq(spec.image as usize, x, y, w, h)?),
        };
        Ok((lq, target))
    }

    fn part(&self, spec: &SampleSpec, record: &Record) -> (usize, usize, usize, usize) {
        let (x, y) = spec.corner(record.width, record.height, self.crop);
        (x, y, self.crop.min(record.width), self.crop.min(record.height))
    }

    /// Pads what is smaller than the crop, then mirrors.
    fn placed(&self, spec: &SampleSpec, image: Image) -> Image {
        let mut image = reflect_pad(image, self.crop);
        if spec.flips[0] {
            image.flip_horizontal();
        }
        if spec.flips[1] {
            image.flip_vertical();
        }
        image
    }

    /// Part of a clean training image: as large as the canvas, or as the image if that is smaller.
    fn natural(&self, spec: &SampleSpec, set: &Dataset) -> Result<Image, ShardError> {
        let record = set.reader.record(spec.natural as usize)?;
        let mut rng = spec.rng(Purpose::Natural);
        let mut at = |size: usize| {
            let part = size.min(self.pool.canvas());
            (rng.below((size - part + 1) as u64) as usize, part)
        };
        let ((x, w), (y, h)) = (at(record.width), at(record.height));
        set.reader.crop_hq(spec.natural as usize, x, y, w, h)
    }
}

/// Returns a warning if the shards that the shuffle windows of remote datasets (images and bytes of each) lie in do not fit
/// in the cache: they are then fetched again and again.
fn small_cache(datasets: &[[u64; 2]], window: u32, max_gib: f64) -> Option<String> {
    let share = |[images, bytes]: &[u64; 2]| *bytes as f64 * (f64::from(window) / *images as f64).min(1.0);
    let needed = datasets.iter().map(share).sum::<f64>() / (1u64 << 30) as f64;
    (needed > max_gib).then(|| {
        format!(
            "the shuffle windows take {needed:.1} GiB of remote shards, but data.cache.max_gib is {max_gib}: shards will be \
             fetched many times; raise it, or lower data.loader.shuffle_window"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_that_windows_do_not_fit_in_is_told() {
        let sets = [[1000, 10 << 30], [10, 1 << 30]];
        assert_eq!(small_cache(&sets, 100, 2.5), None);
        assert!(small_cache(&sets, 100, 1.9).is_some_and(|text| text.contains("take 2.0 GiB")));
        assert!(small_cache(&sets, 5000, 10.9).is_some_and(|text| text.contains("take 11.0 GiB")));
        assert_eq!(small_cache(&[], 5000, 0.0), None);
    }
}
