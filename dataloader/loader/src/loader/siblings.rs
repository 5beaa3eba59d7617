//! Real images of one scene with a part of its degradations: what partial targets of real pairs are cut from.

use std::collections::HashMap;

use defusion_config::Degradation;

use crate::shard::{DatasetReader, Record, ShardError};

/// For each image with several degradations whose scene is there with every part of them: the images of those parts.
#[derive(Debug, Default)]
pub(super) struct Siblings(HashMap<usize, Vec<(Vec<Degradation>, usize)>>);

impl Siblings {
    /// Finds them in a dataset whose descriptor says that it has any; no other's records are looked at.
    pub(super) fn find(reader: &DatasetReader, split: &str) -> Result<Self, ShardError> {
        match defusion_datasets::find(reader.dataset()) {
            Ok(descriptor) if descriptor.has_partial(split) => {
                let records = (0..reader.len()).map(|i| reader.record(i)).collect::<Result<Vec<_>, _>>()?;
                Ok(Self::among(&records, |record| descriptor.scene(split, &record.key)))
            }
            _ => Ok(Self::default()),
        }
    }

    fn among(records: &[Record], scene: impl Fn(&Record) -> Option<String>) -> Self {
        let mut scenes: HashMap<String, Vec<usize>> = HashMap::new();
        for (i, record) in records.iter().enumerate().filter(|(_, record)| record.has_lq) {
            if let Some(scene) = scene(record) {
                scenes.entry(scene).or_default().push(i);
            }
        }
        let mut found = HashMap::new();
        for images in scenes.values() {
            for whole in images {
                let whole_record = &records[*whole];
                let size = (whole_record.width, whole_record.height);
                let part = |i: &&usize| {
                    let part = &records[**i];
                    let left = &part.degradations;
                    (part.width, part.height) == size
                        && left.len() < whole_record.degradations.len()
                        && left.iter().all(|d| whole_record.degradations.contains(d))
                };
                let mut parts: Vec<_> =
                    images.iter().filter(part).map(|i| (sorted(&records[*i].degradations), *i)).collect();
                parts.sort();
                parts.dedup_by(|a, b| a.0 == b.0);
                // Every strict, non-empty part.
                if !parts.is_empty() && parts.len() + 2 == 1 << whole_record.degradations.len().min(32) {
                    found.insert(*whole, parts);
                }
            }
        }
        Self(found)
    }

    /// Whether any part of the degradations of image `image` can be removed.
    pub(super) fn divides(&self, image: usize) -> bool {
        self.0.contains_key(&image)
    }

    /// Returns the image of the same scene that is degraded by just `left`.
    pub(super) fn with(&self, image: usize, left: &[Degradation]) -> Option<usize> {
        let left = sorted(left);
        self.0.get(&image)?.iter().find(|(degradations, _)| *degradations == left).map(|(_, i)| *i)
    }
}

fn sorted(degradations: &[Degradation]) -> Vec<Degradation> {
    let mut degradations = degradations.to_vec();
    degradations.sort_unstable();
    degradations
}

#[cfg(test)]
mod tests {
    use super::*;
    use Degradation::{Rain, Raindrop};

    #[test]
    fn scenes_with_all_their_parts_are_divided() {
        let record = |scene: &str, degradations: &[Degradation], width| Record {
            key: scene.into(),
            split: "train".into(),
            degradations: degradations.to_vec(),
            width,
            height: 9,
            has_lq: true,
        };
        let records = [
            record("a", &[Rain, Raindrop], 8),
            record("a", &[Raindrop], 8),
            record("a", &[Rain], 8),
            // One part is missing; one is of another size.
            record("b", &[Rain, Raindrop], 8),
            record("b", &[Rain], 8),
            record("c", &[Rain, Raindrop], 8),
            record("c", &[Rain], 8),
            record("c", &[Raindrop], 7),
        ];
        let siblings = Siblings::among(&records, |record| Some(record.key.clone()));
        assert_eq!((0..8).filter(|i| siblings.divides(*i)).collect::<Vec<_>>(), [0]);
        assert_eq!((siblings.with(0, &[Raindrop]), siblings.with(0, &[Rain])), (Some(1), Some(2)));
        assert_eq!((siblings.with(0, &[]), siblings.with(3, &[Rain])), (None, None));
    }
}
