//! Making one sample.

use defusion_config::{Config, Degradation, GroundKind, Severity, Stage, Synthesis};

use super::LoadError;
use super::batch::{Batch, Label, Slot};
use super::siblings::Siblings;
use crate::plan::{Plan, Purpose, SampleSpec};
use crate::shard::{DatasetReader, Record};
use crate::{Picture, degrade, ground, instruction};

/// The split that training reads.
const SPLIT: &str = "train";

/// Makes samples; shared by all threads of a loader.
#[derive(Debug)]
pub(crate) struct Sampler {
    stage: Stage,
    crop: usize,
    clean_ground: f64,
    synthesis: Synthesis,
    datasets: Vec<Dataset>,
    plan: Plan,
    pool: ground::Pool,
    /// Whether grounds show a part of a training picture.
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
            let url = crate::store::join(&data.shards, &set.name);
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
            plan: Plan::new(config, stage, &rows)?,
            pool: ground::Pool::open(&data.grounds)?,
            natural: data.grounds.kind == GroundKind::Composed && data.grounds.natural.is_none(),
            datasets,
        })
    }

    pub(crate) fn plan(&self) -> &Plan {
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

    /// The dataset's clean picture, degraded here: x_LQ and T_v(x_LQ).
    fn synthetic(
        &self,
        spec: &SampleSpec,
        set: &Dataset,
        record: &Record,
        chain: &[Degradation],
        indicated: &[Degradation],
    ) -> Result<(Picture, Picture), crate::shard::ShardError> {
        let (x, y, w, h) = self.part(spec, record);
        let hq = self.placed(spec, set.reader.crop_hq(spec.image as usize, x, y, w, h)?);
        let rng = &mut spec.rng(Purpose::Synthesis);
        let chain = degrade::draw(chain, &self.synthesis, Severity::Any, 1.0, rng);
        Ok(chain.apply_both(&hq, indicated))
    }

    /// The dataset's own degraded picture, and what it would be without those indicated: the clean picture where they
    /// are all of them, itself where they are none, else the picture of the same scene with what is left.
    fn real(
        &self,
        spec: &SampleSpec,
        set: &Dataset,
        record: &Record,
        present: &[Degradation],
        indicated: &[Degradation],
    ) -> Result<(Picture, Picture), crate::shard::ShardError> {
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
    fn placed(&self, spec: &SampleSpec, picture: Picture) -> Picture {
        let mut picture = reflect_pad(picture, self.crop);
        if spec.flips[0] {
            picture.flip_horizontal();
        }
        if spec.flips[1] {
            picture.flip_vertical();
        }
        picture
    }

    /// Part of a clean training picture, as large as the canvas where the picture is.
    fn natural(&self, spec: &SampleSpec, set: &Dataset) -> Result<Picture, crate::shard::ShardError> {
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

/// What to say where the shards that the shuffle windows of remote datasets (pictures and bytes of each) lie in do not
/// fit in the cache: they are then fetched again and again.
fn small_cache(datasets: &[[u64; 2]], window: u32, max_gib: f64) -> Option<String> {
    let share = |[pictures, bytes]: &[u64; 2]| *bytes as f64 * (f64::from(window) / *pictures as f64).min(1.0);
    let needed = datasets.iter().map(share).sum::<f64>() / (1u64 << 30) as f64;
    (needed > max_gib).then(|| {
        format!(
            "the shuffle windows take {needed:.1} GiB of remote shards, but data.cache.max_gib is {max_gib}: shards will be \
             fetched many times; raise it, or lower data.loader.shuffle_window"
        )
    })
}

/// From [0, 1] to [-1, 1].
fn write(picture: &Picture, to: &mut [f32]) {
    for (t, v) in to.iter_mut().zip(picture.data()) {
        *t = 2.0 * v - 1.0;
    }
}

/// Extends a picture that is smaller than `side` to the right and the bottom by its mirror image, the edge pixels not
/// repeated; again and again where it is very small.
fn reflect_pad(picture: Picture, side: usize) -> Picture {
    let (width, height) = (picture.width(), picture.height());
    let (to_width, to_height) = (width.max(side), height.max(side));
    if (to_width, to_height) == (width, height) || width == 0 || height == 0 {
        return picture;
    }
    let mirror = |at: usize, len: usize| {
        let period = (2 * (len - 1)).max(1);
        (at % period).min(period - at % period).min(len - 1)
    };
    let mut padded = Picture::filled(to_width, to_height, 0.0);
    for (to, from) in padded.data_mut().chunks_exact_mut(to_width * to_height).zip(picture.planes()) {
        for (y, row) in to.chunks_exact_mut(to_width).enumerate() {
            let source = &from[mirror(y, height) * width..][..width];
            for (x, v) in row.iter_mut().enumerate() {
                *v = source[mirror(x, width)];
            }
        }
    }
    padded
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

    #[test]
    fn small_pictures_are_mirrored() {
        let plane: Vec<f32> = (0..6).map(|v| v as f32).collect();
        let picture = Picture::from_planes(3, 2, plane.repeat(3)).unwrap();
        let padded = reflect_pad(picture.clone(), 7);
        assert_eq!((padded.width(), padded.height()), (7, 7));
        assert_eq!(padded.plane(1)[..7], [0.0, 1.0, 2.0, 1.0, 0.0, 1.0, 2.0]);
        let column: Vec<f32> = (0..7).map(|y| padded.plane(2)[7 * y]).collect();
        assert_eq!(column, [0.0, 3.0, 0.0, 3.0, 0.0, 3.0, 0.0]);
        assert_eq!(reflect_pad(picture.clone(), 2), picture);
        let dot = Picture::filled(1, 1, 0.5);
        assert_eq!(reflect_pad(dot, 4), Picture::filled(4, 4, 0.5));
    }
}
