//! What a job does before its first step.

use defusion_config::DatasetUse;
use defusion_config::protocol::ENV_LOCAL_RANK;
use defusion_storage::join;
use defusion_dataloader::verify;

use super::rank_zero::from_rank_zero;
use super::{Run, TrainError};
use defusion_checkpoint::{CheckpointId, NameError, Snapshot};

impl Run {
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
    /// [`TrainError::Checkpoint`] if the folder holds checkpoints and none can be used, [`TrainError::RankZero`].
    pub fn newest_checkpoint(&mut self) -> Result<Option<Snapshot>, TrainError> {
        self.heartbeat.beat("starting", 0);
        let find = || -> Result<Vec<u8>, TrainError> {
            let Some(found) = self.folder.find_latest()? else { return Ok(Vec::new()) };
            for damaged in &found.damaged {
                eprintln!("passed over: {damaged}");
            }
            Ok(found.id.to_string().into_bytes())
        };
        let name = String::from_utf8_lossy(&from_rank_zero(&self.group, find)?).into_owned();
        if name.is_empty() {
            return Ok(None);
        }
        let id: CheckpointId =
            name.parse().map_err(|e: NameError| TrainError::RankZero { exit_code: e.exit_code(), text: e.to_string() })?;
        let snapshot = self.folder.load(id)?;
        self.say(&format!("resuming from {id}"));
        Ok(Some(snapshot))
    }
}
