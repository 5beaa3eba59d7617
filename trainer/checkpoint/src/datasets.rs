//! `datasets.json`: which data a run has been trained on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::CheckpointError;
use crate::folder::RunFolder;

const DATASETS: &str = "datasets.json";
/// Largest file that is read, bytes.
const LIMIT: u64 = 1 << 20;

/// What a run keeps of a dataset, to know it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetRecord {
    /// sha256 over its shards' names and digests, in hex.
    pub sha256: String,
    /// Number of shards.
    pub shards: u64,
    /// Number of images.
    pub images: u64,
}

/// The file. Fields that a later version adds are passed over.
#[derive(Serialize, Deserialize)]
struct Datasets {
    datasets: BTreeMap<String, DatasetRecord>,
}

impl std::fmt::Display for DatasetRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let short = self.sha256.get(..12).unwrap_or(&self.sha256);
        write!(f, "{} images in {} shards, {short}", self.images, self.shards)
    }
}

impl RunFolder {
    /// Makes sure that the datasets named are those that the run has been trained on, and records those that it has not
    /// met yet: all of them in a new run, or in one from before there was such a record. Called by rank 0.
    ///
    /// # Errors
    /// [`CheckpointError::OtherData`], naming the first dataset that differs; [`CheckpointError::BadFile`];
    /// [`CheckpointError::Store`].
    pub fn check_datasets(&self, ours: &BTreeMap<String, DatasetRecord>) -> Result<(), CheckpointError> {
        let bad = |message: String| CheckpointError::BadFile { file: self.store.url_of(DATASETS), message };
        let mut known = match self.store.find(DATASETS, LIMIT)? {
            Some(bytes) => serde_json::from_slice::<Datasets>(&bytes).map_err(|e| bad(e.to_string()))?.datasets,
            None => BTreeMap::new(),
        };
        let count = known.len();
        for (name, record) in ours {
            let theirs = known.entry(name.clone()).or_insert_with(|| record.clone());
            if theirs != record {
                return Err(CheckpointError::OtherData {
                    dataset: name.clone(),
                    theirs: theirs.to_string(),
                    ours: record.to_string(),
                    record: self.store.url_of(DATASETS),
                });
            }
        }
        if known.len() > count {
            let json = serde_json::to_vec_pretty(&Datasets { datasets: known }).map_err(|e| bad(e.to_string()))?;
            self.store.put_verified(DATASETS, json.into())?;
        }
        Ok(())
    }
}
