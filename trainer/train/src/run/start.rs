//! What a job does before its first step.

use std::collections::BTreeMap;

use defusion_checkpoint::DatasetRecord;
use defusion_config::protocol::ENV_LOCAL_RANK;
use defusion_config::{DatasetUse, Stage};
use defusion_dataloader::fingerprint::fingerprint;
use defusion_dataloader::verify;
use defusion_storage::join;

use super::rank_zero::from_rank_zero;
use super::{DealtCheckpoint, Run, TrainError};
use crate::stage::TrainingStage;

impl Run {
    /// Makes sure that the datasets are those that the run has been trained on before.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] if one is not, [`TrainError::Shard`] if one is not prepared, [`TrainError::RankZero`] on
    /// the other ranks.
    pub fn check_datasets(&self) -> Result<(), TrainError> {
        let check = || -> Result<Vec<u8>, TrainError> {
            let data = &self.config().data;
            let mut records = BTreeMap::new();
            for set in &data.datasets {
                let found = fingerprint(&join(&data.shards, &set.name))?;
                let record = DatasetRecord { sha256: found.sha256, shards: found.shards, images: found.images };
                records.insert(set.name.clone(), record);
            }
            self.folder.check_datasets(&records)?;
            Ok(Vec::new())
        };
        from_rank_zero(&**self.group.collective(), check).map(|_| ())
    }

    /// Compares the shards with their manifests' sha256: the workers of each host all of them, each its part. Without a
    /// launcher, which says which worker of its host this is, each worker compares all.
    ///
    /// # Errors
    /// [`TrainError::Shard`] on the rank that found a damaged one, [`TrainError::Elsewhere`] on the others.
    pub fn check_shards(&mut self) -> Result<(), TrainError> {
        let data = &self.config().data;
        if !data.verify_shards {
            return Ok(());
        }
        let local_rank = std::env::var(ENV_LOCAL_RANK).ok().and_then(|n| n.parse().ok());
        let (part, parts) = local_rank.map_or((0, 1), |n| (n, self.config().cluster.workers_per_node as usize));
        let check = |set: &DatasetUse| verify::digests(&join(&data.shards, &set.name), part, parts);
        let checked = data.datasets.iter().try_for_each(check);
        let damaged = self.group.collective().any(checked.is_err(), "shards are sound?")?;
        checked?;
        if damaged { Err(TrainError::Elsewhere("a shard is damaged")) } else { Ok(()) }
    }

    /// The newest checkpoint all of whose bytes are right, the same on all ranks; `None` for a new run.
    ///
    /// # Errors
    /// Those of [`DealtCheckpoint::newest`].
    pub fn newest_checkpoint(&mut self) -> Result<Option<DealtCheckpoint>, TrainError> {
        self.heartbeat.beat("starting", 0);
        let found = DealtCheckpoint::newest(&self.folder, &**self.group.collective())?;
        if let Some(checkpoint) = &found {
            let id = checkpoint.id();
            self.heartbeat.safe("starting", 0, id.stage, id.step);
            self.say(&format!("resuming from {id}"));
        }
        Ok(found)
    }

    /// Takes a stage back to a checkpoint of it. Returns how many steps are done; 0 without a checkpoint.
    ///
    /// # Errors
    /// Those of [`DealtCheckpoint::copy_into`].
    pub fn resume(&self, stage: &dyn TrainingStage, from: Option<DealtCheckpoint>) -> Result<u64, TrainError> {
        let Some(checkpoint) = from else { return Ok(0) };
        let step = checkpoint.id().step;
        // The snapshot's tensors are the stage's own.
        checkpoint.copy_into(&stage.snapshot(step), &**self.group.collective())?;
        Ok(step)
    }

    /// Notes that the networks of `stage` are built next, to go on after `start` steps: that may take as long as a first step.
    pub fn prepare_stage(&mut self, stage: Stage, start: u64) {
        self.group.enter(stage, start, true);
        self.heartbeat.beat(stage.name(), start);
    }
}
