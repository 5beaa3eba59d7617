//! What a dataset is and how its files belong together.

use std::collections::BTreeMap;
use std::path::Path;

use defusion_config::Degradation;
use serde::{Deserialize, Deserializer};

use crate::Template;

/// One dataset: what it shows, where it comes from, and its published layout.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Descriptor {
    /// Name in configs and folder of its shards: lower-case letters, digits and `_`.
    pub name: String,
    /// Name in print.
    pub title: String,
    /// The restoration task.
    pub task: String,
    /// Categories present in its degraded pictures, in the order they were applied. Empty: clean pictures only.
    #[serde(default)]
    pub degradations: Vec<Degradation>,
    /// What the paper uses it for.
    pub role: Role,
    /// Width and height of a usual picture.
    #[serde(default)]
    pub typical_size: Option<[u32; 2]>,
    /// Licence, as far as known.
    pub licence: String,
    /// Paper or repository.
    pub source: String,
    /// What one should know before using it.
    #[serde(default)]
    pub note: String,
    /// Folders, below the one given, that the layout may start in. The folder given is tried first.
    #[serde(default)]
    pub roots: Vec<String>,
    /// The splits by name. Training uses `train`; names of test splits start with `test`.
    pub splits: BTreeMap<String, Split>,
}

/// What a dataset is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Training only.
    Train,
    /// Evaluation only.
    Test,
    /// Both, each with its own split.
    TrainTest,
}

impl Role {
    /// `train`, `test` or `train+test`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
            Self::TrainTest => "train+test",
        }
    }
}

/// One split of a dataset.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// Published number of pairs. Unset: unknown, nothing is compared.
    #[serde(default)]
    pub count: Option<u64>,
    /// Where its pairs come from; all of them together are the split.
    pub sources: Vec<Source>,
}

/// One group of files of a split.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Layouts in the order they are tried; the first that any file fits is used. Mirrors differ.
    pub layouts: Vec<Layout>,
    /// Categories of this group, where they are not the dataset's.
    #[serde(default)]
    pub degradations: Option<Vec<Degradation>>,
    /// Only pairs whose numeric fields lie in these ranges, `[first, last]`.
    #[serde(default, rename = "where")]
    pub within: BTreeMap<String, [u64; 2]>,
    /// Only a share of the pairs, chosen by seed.
    #[serde(default)]
    pub share: Option<Share>,
}

/// How the files of a group lie and which belong together.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// Degraded pictures. Unset: clean pictures only.
    #[serde(default, deserialize_with = "optional_template")]
    pub lq: Option<Template>,
    /// Clean pictures.
    #[serde(deserialize_with = "template")]
    pub gt: Template,
    /// How the two sides find each other.
    #[serde(default)]
    pub pairing: Pairing,
    /// List file (text), relative to the root, that names the pairs: one pair a line, its columns told apart by which
    /// template they fit, paths relative to the root.
    #[serde(default)]
    pub list: Option<String>,
    /// What to do where the clean picture is larger.
    #[serde(default)]
    pub fit: Fit,
}

/// How degraded pictures find their clean ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pairing {
    /// By the values of all fields that both templates have, the extension aside.
    #[default]
    Fields,
    /// By rank among the sorted file names, for sets whose names differ. Where both templates share fields, within
    /// each group of their values.
    Rank,
}

/// What to do where the clean picture is larger than the degraded one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// Refuse.
    #[default]
    Exact,
    /// Take the centre of the clean picture.
    CentreCrop,
}

/// A share of a group's pairs, the same on every machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Field whose values are divided, so that a scene is never on both sides. Unset: single pairs.
    #[serde(default)]
    pub by: Option<String>,
    /// Share of the values in the first part, rounded to whole values.
    pub first: f64,
    /// Which part this split is.
    pub take: Take,
    /// Seed of the division.
    #[serde(default)]
    pub seed: u64,
}

/// One of the two parts of a [`Share`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Take {
    /// The part of the stated share.
    First,
    /// All else.
    Rest,
}

fn template<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Template, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

fn optional_template<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Template>, D::Error> {
    template(deserializer).map(Some)
}

/// A descriptor that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DescriptorError {
    /// The file cannot be read.
    #[error("cannot read descriptor {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// No valid descriptor.
    #[error("descriptor {path}: {message}")]
    Invalid {
        /// The file.
        path: String,
        /// Key, line and reason.
        message: String,
    },
    /// No dataset of this name.
    #[error("no dataset is called `{name}`; known are {known}")]
    Unknown {
        /// As asked for.
        name: String,
        /// All names.
        known: String,
    },
}

impl Descriptor {
    /// Reads a descriptor of one's own.
    ///
    /// # Errors
    /// [`DescriptorError`] naming the file and the key.
    pub fn load(path: &Path) -> Result<Self, DescriptorError> {
        let shown = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|source| DescriptorError::Read { path: shown.clone(), source })?;
        Self::parse(&text, &shown)
    }

    /// As [`Descriptor::load`], from text; `path` is for messages.
    ///
    /// # Errors
    /// [`DescriptorError::Invalid`].
    pub fn parse(text: &str, path: &str) -> Result<Self, DescriptorError> {
        let invalid = |message: String| DescriptorError::Invalid { path: path.to_owned(), message };
        let descriptor: Self = serde_yaml::from_str(text).map_err(|e| invalid(e.to_string()))?;
        descriptor.check().map_err(invalid)?;
        Ok(descriptor)
    }

    fn check(&self) -> Result<(), String> {
        let plain = |name: &str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        if !plain(&self.name) {
            return Err(format!("name `{}` must be lower-case letters, digits and `_`", self.name));
        }
        for (name, split) in &self.splits {
            if !plain(name) {
                return Err(format!("split `{name}` must be lower-case letters, digits and `_`"));
            }
            for source in &split.sources {
                self.check_source(name, source)?;
            }
        }
        Ok(())
    }

    fn check_source(&self, split: &str, source: &Source) -> Result<(), String> {
        if source.layouts.is_empty() {
            return Err(format!("split `{split}`: a source without layouts"));
        }
        if let Some(share) = &source.share
            && !(share.first > 0.0 && share.first < 1.0)
        {
            return Err(format!("split `{split}`: share.first must lie between 0 and 1"));
        }
        for layout in &source.layouts {
            let names = layout.lq.as_ref().unwrap_or(&layout.gt).names();
            let by = source.share.as_ref().and_then(|share| share.by.as_ref());
            if let Some(field) = source.within.keys().chain(by).find(|field| !names.contains(&field.as_str())) {
                return Err(format!("split `{split}`: no field `{field}` in the template of the degraded pictures"));
            }
            if layout.list.is_some() && layout.lq.is_none() {
                return Err(format!("split `{split}`: a list needs both templates"));
            }
        }
        Ok(())
    }
}
