//! What a job does before its first step.

use defusion_config::DatasetUse;
use defusion_config::protocol::ENV_LOCAL_RANK;
use defusion_dataloader::store::join;
use defusion_dataloader::verify;

use super::{Run, TrainError};
use crate::checkpoint::{CheckpointId, Snapshot};
use crate::workers::Workers;

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
        let damaged = self.workers.collective().any(checked.is_err(), "shards are sound?")?;
        checked?;
        if damaged { Err(TrainError::Elsewhere("a shard is damaged")) } else { Ok(()) }
    }

    /// The newest checkpoint all of whose bytes are right, the same on all ranks; `None` for a new run.
    ///
    /// # Errors
    /// Where the folder holds checkpoints and none can be used.
    pub fn newest_checkpoint(&mut self) -> Result<Option<Snapshot>, TrainError> {
        self.pulse.beat("starting", 0);
        let find = || -> Result<Vec<u8>, TrainError> {
            let Some(found) = self.folder.find_latest()? else { return Ok(Vec::new()) };
            for damaged in &found.damaged {
                eprintln!("passed over: {damaged}");
            }
            Ok(found.id.to_string().into_bytes())
        };
        let name = String::from_utf8_lossy(&from_rank_zero(&self.workers, find)?).into_owned();
        if name.is_empty() {
            return Ok(None);
        }
        let id: CheckpointId = name.parse().map_err(TrainError::RankZero)?;
        let snapshot = self.folder.load(id)?;
        self.say(&format!("resuming from {id}"));
        Ok(Some(snapshot))
    }
}

/// What `make` returns on rank 0, on all ranks. Where it fails there, all ranks fail, and rank 0 with the cause.
pub(super) fn from_rank_zero(
    workers: &Workers,
    make: impl FnOnce() -> Result<Vec<u8>, TrainError>,
) -> Result<Vec<u8>, TrainError> {
    let mut message = Vec::new();
    let mut failure = None;
    if workers.rank() == 0 {
        match make() {
            Ok(bytes) => {
                message.push(1);
                message.extend(bytes);
            }
            Err(error) => {
                message.push(0);
                message.extend(error.to_string().into_bytes());
                failure = Some(error);
            }
        }
    }
    workers.collective().broadcast_bytes(&mut message, 0, "news from rank 0")?;
    match (failure, message.split_first()) {
        (Some(error), _) => Err(error),
        (None, Some((1, bytes))) => Ok(bytes.to_vec()),
        (None, Some((_, text))) => Err(TrainError::RankZero(String::from_utf8_lossy(text).into_owned())),
        (None, None) => Err(TrainError::RankZero("it sent nothing".into())),
    }
}
