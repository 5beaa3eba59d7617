//! The groups of a checkpoint that an export is made of.

use std::collections::BTreeMap;

use defusion_checkpoint::{CheckpointError, CheckpointId, RunFolder, Snapshot};
use defusion_config::Stage;
use tch::Tensor;

use super::{ExportError, Part};

/// Group of a checkpoint with the averaged weights of the stage's network.
pub(super) const AVERAGED: &str = "ema";
/// Group of a diffusion checkpoint with the frozen tokenizer.
const TOKENIZER: &str = "tokenizer";

/// The weights' groups of one checkpoint: the one named, or the newest that has `part` and is sound.
pub(super) fn load(
    run: &RunFolder,
    checkpoint: Option<CheckpointId>,
    part: Part,
) -> Result<(CheckpointId, Snapshot), ExportError> {
    let groups = |id: CheckpointId| match id.stage {
        Stage::Tokenizer => &[AVERAGED][..],
        Stage::Diffusion => &[AVERAGED, TOKENIZER][..],
    };
    let enough = |id: &CheckpointId| part == Part::Tokenizer || id.stage == Stage::Diffusion;
    let no_checkpoint = |run: &RunFolder| {
        let (stage, hint) = match part {
            Part::Tokenizer => (Stage::Tokenizer, ""),
            _ => (Stage::Diffusion, "; --tokenizer exports what the first stage has made"),
        };
        ExportError::NoCheckpoint { run: run.url().to_owned(), stage, hint }
    };
    if let Some(id) = checkpoint {
        return if enough(&id) { Ok((id, run.load_groups(id, groups(id))?)) } else { Err(no_checkpoint(run)) };
    }
    let mut newest_damage = None;
    for id in run.checkpoints()?.into_iter().filter(enough) {
        match run.load_groups(id, groups(id)) {
            Ok(snapshot) => return Ok((id, snapshot)),
            Err(error @ CheckpointError::Damaged { .. }) => {
                tracing::warn!("{error}; trying the one before");
                newest_damage.get_or_insert(error);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(newest_damage.map_or_else(|| no_checkpoint(run), ExportError::from))
}

/// The tensors of `part` under the names of its file.
pub(super) fn tensors(mut snapshot: Snapshot, part: Part) -> BTreeMap<String, Tensor> {
    let mut take = |group: &str| snapshot.groups.remove(group).unwrap_or_default();
    match (part, snapshot.stage) {
        (Part::Tokenizer, Stage::Tokenizer) => take(AVERAGED),
        (Part::Tokenizer, Stage::Diffusion) => take(TOKENIZER),
        (Part::Unet, _) => take(AVERAGED)
            .into_iter()
            .filter_map(|(name, tensor)| Some((name.strip_prefix("unet.")?.to_owned(), tensor)))
            .collect(),
        (Part::Whole, _) => {
            let mut tensors = take(AVERAGED);
            tensors.extend(take(TOKENIZER).into_iter().map(|(name, tensor)| (format!("tokenizer.{name}"), tensor)));
            tensors
        }
    }
}
