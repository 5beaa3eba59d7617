//! A checkpoint that all ranks read together: each its part of the files, whose tensors it then sends to the others.

use std::collections::{BTreeMap, BTreeSet};

use defusion_checkpoint::{CheckpointError, CheckpointId, NameError, RunFolder, Snapshot};
use defusion_config::protocol::EXIT_FAILED;
use defusion_parallel::{Collective, ParallelError};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::TrainError;
use super::rank_zero::from_rank_zero;

/// The newest sound checkpoint of a run folder, dealt to the ranks: every byte has been read, and compared with its sha256,
/// by one rank, which holds it in host memory.
#[derive(Debug)]
pub struct DealtCheckpoint {
    id: CheckpointId,
    /// This rank's tensors.
    part: Snapshot,
    /// All tensors, in the order of groups and names.
    catalogue: BTreeMap<(String, String), Entry>,
}

/// One tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    /// The rank that holds it.
    owner: usize,
    /// Kind and shape, as text: they are compared and shown only.
    form: String,
}

fn form(tensor: &Tensor) -> String {
    format!("{:?} {:?}", tensor.kind(), tensor.size())
}

/// What a rank made of its part.
#[derive(Serialize, Deserialize)]
enum Reading {
    Sound(Vec<(String, String, Entry)>),
    Damaged(String),
    Failed { exit_code: i32, text: String },
}

impl DealtCheckpoint {
    /// Finds the newest checkpoint all of whose bytes are right, the same on all ranks; `None` for a folder that has none.
    /// If any rank finds a fault in its part, all go on to the checkpoint before.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] if the folder holds checkpoints and none can be used, or its store fails;
    /// [`TrainError::RankZero`] and [`TrainError::OtherRank`] if that happened elsewhere; [`TrainError::Parallel`].
    pub fn newest(folder: &RunFolder, comm: &dyn Collective) -> Result<Option<Self>, TrainError> {
        // Only rank 0 keeps the list.
        let mut damaged: Vec<(CheckpointId, String)> = Vec::new();
        loop {
            let find = || -> Result<Vec<u8>, TrainError> {
                let found = folder.newest_whole(&mut damaged)?;
                Ok(found.map(|id| id.to_string().into_bytes()).unwrap_or_default())
            };
            let name = String::from_utf8_lossy(&from_rank_zero(comm, find)?).into_owned();
            if name.is_empty() {
                return Ok(None);
            }
            let id: CheckpointId = name
                .parse()
                .map_err(|e: NameError| TrainError::RankZero { exit_code: e.exit_code(), text: e.to_string() })?;
            match Self::read(folder, comm, id)? {
                Ok(dealt) => {
                    for (id, fault) in damaged {
                        folder.note_damaged(id);
                        eprintln!("passed over: {fault}");
                    }
                    return Ok(Some(dealt));
                }
                Err(fault) if comm.rank() == 0 => damaged.push((id, fault)),
                Err(_) => {}
            }
        }
    }

    /// Reads checkpoint `id`, each rank its part. A fault that any rank found comes back on all of them.
    fn read(folder: &RunFolder, comm: &dyn Collective, id: CheckpointId) -> Result<Result<Self, String>, TrainError> {
        let mut failure = None;
        let mut part = Snapshot::new(id.stage, id.step);
        let reading = match folder.load_part(id, comm.rank(), comm.size()) {
            Ok(read) => {
                part = read;
                let tensors = part.groups.iter().flat_map(|(g, ts)| ts.iter().map(move |(n, t)| (g, n, t)));
                let entry = |t| Entry { owner: comm.rank(), form: form(t) };
                Reading::Sound(tensors.map(|(g, n, t)| (g.clone(), n.clone(), entry(t))).collect())
            }
            Err(error @ CheckpointError::Damaged { .. }) => Reading::Damaged(error.to_string()),
            Err(error) => {
                let reading = Reading::Failed { exit_code: error.exit_code(), text: error.to_string() };
                failure = Some(error);
                reading
            }
        };
        let readings = exchange(comm, &reading)?;
        if let Some(error) = failure {
            return Err(error.into());
        }
        let mut catalogue = BTreeMap::new();
        let mut fault = None;
        for (rank, reading) in readings.into_iter().enumerate() {
            match reading {
                Reading::Sound(entries) => {
                    catalogue.extend(entries.into_iter().map(|(group, name, entry)| ((group, name), entry)));
                }
                Reading::Damaged(text) => fault = fault.or(Some(text)),
                Reading::Failed { exit_code, text } => return Err(TrainError::OtherRank { rank, exit_code, text }),
            }
        }
        Ok(fault.map_or(Ok(Self { id, part, catalogue }), Err))
    }

    /// The checkpoint's name, with its stage and step.
    pub fn id(&self) -> CheckpointId {
        self.id
    }

    /// Copies the checkpoint into `state`, in place and on all ranks: one tensor at a time goes from the rank that holds it
    /// to the others, on the device that the state is on.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] if groups, names, shapes or kinds differ, on all ranks and before anything is copied;
    /// [`TrainError::Parallel`], [`TrainError::Torch`].
    pub fn copy_into(mut self, state: &Snapshot, comm: &dyn Collective) -> Result<(), TrainError> {
        self.check(state)?;
        for (group, tensors) in &state.groups {
            for (name, tensor) in tensors {
                let owner = self.catalogue[&(group.clone(), name.clone())].owner;
                let mut target = tensor.f_detach()?;
                // The owner's copy in host memory is gone once it is sent.
                if let Some(source) = self.part.groups.get_mut(group).and_then(|tensors| tensors.remove(name)) {
                    tch::no_grad(|| target.f_copy_(&source))?;
                }
                comm.broadcast(&mut target, owner, &format!("{} {group} {name}", self.id))?;
            }
        }
        Ok(())
    }

    fn check(&self, state: &Snapshot) -> Result<(), CheckpointError> {
        let error = |group: &str, message| CheckpointError::State { group: group.to_owned(), message };
        let mut left: BTreeSet<&(String, String)> = self.catalogue.keys().collect();
        for (group, tensors) in &state.groups {
            if !self.catalogue.keys().any(|(g, _)| g == group) && !tensors.is_empty() {
                return Err(error(group, format!("checkpoint {} has no such group", self.id)));
            }
            for (name, tensor) in tensors {
                let key = (group.clone(), name.clone());
                let Some(entry) = self.catalogue.get(&key) else {
                    return Err(error(group, format!("`{name}` is not in checkpoint {}, of another model", self.id)));
                };
                if entry.form != form(tensor) {
                    let (here, there) = (form(tensor), &entry.form);
                    return Err(error(group, format!("`{name}` is {here} here, {there} in checkpoint {}", self.id)));
                }
                left.remove(&key);
            }
        }
        match left.first() {
            None => Ok(()),
            Some((group, name)) => {
                let message = format!("checkpoint {} has {} tensors more, the first `{name}`", self.id, left.len());
                Err(error(group, message))
            }
        }
    }
}

/// What every rank has to say, in their order, on all ranks.
fn exchange(comm: &dyn Collective, mine: &Reading) -> Result<Vec<Reading>, ParallelError> {
    // Strings and integers only: writing them as JSON cannot fail.
    let mine = serde_json::to_vec(mine).unwrap_or_default();
    let lost =
        |rank| Reading::Failed { exit_code: EXIT_FAILED, text: format!("rank {rank} sent nothing that can be read") };
    (0..comm.size())
        .map(|rank| {
            let mut bytes = if rank == comm.rank() { mine.clone() } else { Vec::new() };
            comm.broadcast_bytes(&mut bytes, rank, "parts of the checkpoint")?;
            Ok(serde_json::from_slice(&bytes).unwrap_or_else(|_| lost(rank)))
        })
        .collect()
}
