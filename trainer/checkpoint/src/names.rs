//! Names of checkpoints and of the files within them. Names are parsed strictly: a name that is not exactly what would
//! have been written is refused, so that no name in a stranger's manifest can lead out of its folder.

use std::fmt;
use std::str::FromStr;

use defusion_config::Stage;
use defusion_config::protocol::EXIT_USAGE;
use serde::{Deserialize, Serialize};

/// Folder of the checkpoints within the run folder.
pub(crate) const CHECKPOINTS: &str = "checkpoints";
/// Written last; its presence makes a folder a checkpoint.
pub(crate) const MANIFEST: &str = "manifest.json";
/// Points to the newest checkpoint.
pub(crate) const LATEST: &str = "latest.json";

/// A name that no checkpoint or file of one has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no {kind}'s name such as {example}")]
pub struct NameError {
    name: String,
    kind: &'static str,
    example: &'static str,
}

impl NameError {
    /// Returns whether the same name can be right later; it needs a person.
    pub fn is_transient(&self) -> bool {
        false
    }

    /// Returns the exit code that says so.
    pub fn exit_code(&self) -> i32 {
        EXIT_USAGE
    }
}

/// One checkpoint: `2-diffusion-000012000-a0001`. Ordered by stage, then step, then attempt, and so are the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct CheckpointId {
    /// Stage in which it was taken.
    pub stage: Stage,
    /// Steps of that stage that were complete.
    pub step: u64,
    /// Number of the attempt (start of the job) that wrote it, from 1.
    pub attempt: u32,
}

fn stage_number(stage: Stage) -> u32 {
    match stage {
        Stage::Tokenizer => 1,
        Stage::Diffusion => 2,
    }
}

impl CheckpointId {
    /// Its folder within the run folder.
    pub fn folder(&self) -> String {
        format!("{CHECKPOINTS}/{self}")
    }

    /// An object within its folder.
    pub(crate) fn object(&self, file: &str) -> String {
        format!("{CHECKPOINTS}/{self}/{file}")
    }
}

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stage, step, attempt } = self;
        write!(f, "{}-{}-{step:09}-a{attempt:04}", stage_number(*stage), stage.name())
    }
}

impl FromStr for CheckpointId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let parse = || {
            let mut words = text.split('-');
            let number = words.next()?;
            let stage =
                [Stage::Tokenizer, Stage::Diffusion].into_iter().find(|s| stage_number(*s).to_string() == number)?;
            let name = words.next()?;
            let step = words.next()?.parse().ok()?;
            let attempt = words.next()?.strip_prefix('a')?.parse().ok()?;
            let id = Self { stage, step, attempt };
            (name == stage.name() && id.to_string() == text).then_some(id)
        };
        parse().ok_or_else(|| NameError {
            name: text.to_owned(),
            kind: "checkpoint",
            example: "2-diffusion-000012000-a0001",
        })
    }
}

impl From<CheckpointId> for String {
    fn from(id: CheckpointId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for CheckpointId {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

/// A rank's share of one group: `model-1of2.safetensors`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShareName {
    pub group: String,
    /// From 0.
    pub rank: usize,
    pub world: usize,
}

impl fmt::Display for ShareName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}of{}.safetensors", self.group, self.rank + 1, self.world)
    }
}

impl FromStr for ShareName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let parse = || {
            let (group, share) = text.strip_suffix(".safetensors")?.split_once('-')?;
            let (number, world) = share.split_once("of")?;
            let rank = number.parse::<usize>().ok()?.checked_sub(1)?;
            let name = Self { group: group.to_owned(), rank, world: world.parse().ok()? };
            (is_group(group) && name.rank < name.world && name.to_string() == text).then_some(name)
        };
        parse().ok_or_else(|| NameError { name: text.to_owned(), kind: "share", example: "model-1of2.safetensors" })
    }
}

/// `part-1of2.json`, for a rank from 0.
pub(crate) fn part_name(rank: usize, world: usize) -> String {
    format!("part-{}of{world}.json", rank + 1)
}

/// Returns whether `name` can name a group of tensors: 1 to 64 of `a-z`, `0-9` and `_`.
pub(crate) fn is_group(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_sort_as_ids_do() {
        let id = |stage, step, attempt| CheckpointId { stage, step, attempt };
        let mut ids = [
            id(Stage::Diffusion, 5, 1),
            id(Stage::Tokenizer, 100_000, 2),
            id(Stage::Diffusion, 600_000, 1),
            id(Stage::Diffusion, 5, 12),
            id(Stage::Tokenizer, 9, 1),
        ];
        ids.sort();
        let mut names: Vec<String> = ids.iter().map(ToString::to_string).collect();
        assert_eq!(names[0], "1-tokenizer-000000009-a0001");
        names.sort();
        assert_eq!(names, ids.iter().map(ToString::to_string).collect::<Vec<_>>());
    }

    #[test]
    fn names_that_would_not_be_written_are_refused() {
        for name in [
            "../model-1of2.safetensors",
            "model-0of2.safetensors",
            "model-3of2.safetensors",
            "model-01of2.safetensors",
            "model-1of2.safetensors/..",
            "a/b-1of2.safetensors",
            "-1of2.safetensors",
            "Model-1of2.safetensors",
        ] {
            name.parse::<ShareName>().expect_err(name);
        }
        for name in ["1-diffusion-000000005-a0001", "2-diffusion-5-a0001", "2-diffusion-000000005-a1", "..", ""] {
            name.parse::<CheckpointId>().expect_err(name);
        }
    }

    proptest! {
        #[test]
        fn ids_survive_their_names(second in any::<bool>(), step in any::<u64>(), attempt in any::<u32>()) {
            let stage = if second { Stage::Diffusion } else { Stage::Tokenizer };
            let id = CheckpointId { stage, step, attempt };
            prop_assert_eq!(id.to_string().parse::<CheckpointId>(), Ok(id));
        }

        #[test]
        fn parsers_never_panic(text in ".{0,60}") {
            if let Ok(id) = text.parse::<CheckpointId>() { prop_assert_eq!(id.to_string(), text.clone()); }
            if let Ok(name) = text.parse::<ShareName>() { prop_assert_eq!(name.to_string(), text); }
        }
    }
}
