//! What a dataset is and how its files belong together.

mod source;

use std::collections::BTreeMap;
use std::path::Path;

use defusion_config::Degradation;
use defusion_config::protocol::EXIT_USAGE;
use serde::Deserialize;

pub use source::{Fit, Layout, Pairing, Share, Source, Take};

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
    /// Categories present in its degraded images, in the order they were applied. Empty: clean images only.
    #[serde(default)]
    pub degradations: Vec<Degradation>,
    /// What the paper uses it for.
    pub role: Role,
    /// Width and height of a usual image.
    #[serde(default)]
    pub typical_size: Option<[u32; 2]>,
    /// Licence, as far as it is known.
    pub licence: String,
    /// Paper or repository that the dataset comes from.
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
    /// Returns `train`, `test` or `train+test`.
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

/// A descriptor that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DescriptorError {
    /// The file cannot be read.
    #[error("cannot read descriptor {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is no valid descriptor.
    #[error("descriptor {path}: {message}")]
    Invalid {
        /// The file.
        path: String,
        /// Key, line and reason.
        message: String,
    },
    /// There is no dataset of this name.
    #[error("no dataset is called `{name}`; known are {known}")]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// All names, separated by commas.
        known: String,
    },
}

impl DescriptorError {
    /// Whether starting again can help: never, a person has to change something.
    pub fn is_transient(&self) -> bool {
        false
    }

    /// Exit code of a program that ends because of it.
    pub fn exit_code(&self) -> i32 {
        EXIT_USAGE
    }
}

impl Descriptor {
    /// Reads a descriptor from a file of one's own.
    ///
    /// # Errors
    /// [`DescriptorError::Read`] or [`DescriptorError::Invalid`].
    pub fn load(path: &Path) -> Result<Self, DescriptorError> {
        let shown = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|source| DescriptorError::Read { path: shown.clone(), source })?;
        Self::parse(&text, &shown)
    }

    /// Does the same as [`Descriptor::load`] with text that has been read; `path` is for messages.
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
                return Err(format!("split `{split}`: no field `{field}` in the template of the degraded images"));
            }
            if layout.list.is_some() && layout.lq.is_none() {
                return Err(format!("split `{split}`: a list needs both templates"));
            }
        }
        Ok(())
    }
}
