//! Reading, overriding, validating and digesting a config.

use std::path::{Path, PathBuf};

use serde_yaml::Value;
use sha2::{Digest, Sha256};

use crate::{Config, ConfigError, load_yaml};

/// Keys that had another name: the section, the name before, the name now. Recipes and changes may use either; digests are
/// taken with the name before, so that runs from before keep theirs.
const RENAMED: [(&[&str], &str, &str); 1] = [(&["diffusion", "sampler"], "clip_to_picture", "clip_to_image")];

/// A change to one key: `dotted.key=value`, the value in YAML. A key that wants text takes it as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    text: String,
    keys: Vec<String>,
    value: Value,
    value_text: String,
}

impl std::str::FromStr for Override {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let error = |message: String| ConfigError::Override { text: text.to_owned(), message };
        let (key, value) = text.split_once('=').ok_or_else(|| error("expected key=value".into()))?;
        let mut keys: Vec<String> = key.split('.').map(str::to_owned).collect();
        if keys.iter().any(String::is_empty) {
            return Err(error("empty key".into()));
        }
        for (section, before, now) in RENAMED {
            if let Some((last, above)) = keys.split_last_mut()
                && last == before
                && above == section
            {
                *last = now.into();
            }
        }
        let value_text = value.to_owned();
        let value = serde_yaml::from_str(value).map_err(|e| error(e.to_string()))?;
        Ok(Self { text: text.to_owned(), keys, value, value_text })
    }
}

impl std::fmt::Display for Override {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// A config that has been read, overridden and validated.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The config.
    pub config: Config,
    /// The file it came from.
    pub path: PathBuf,
}

impl Resolved {
    /// Reads `path`, applies `overrides` in order and validates the result.
    ///
    /// # Errors
    /// [`ConfigError::Read`], [`ConfigError::Parse`], [`ConfigError::Override`] or [`ConfigError::Invalid`].
    pub fn load(path: &Path, overrides: &[Override]) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path, overrides)
    }

    /// Does the same as [`Resolved::load`] with text that has been read; `path` is for messages.
    ///
    /// # Errors
    /// [`ConfigError::Parse`], [`ConfigError::Override`] or [`ConfigError::Invalid`].
    pub fn parse(text: &str, path: &Path, overrides: &[Override]) -> Result<Self, ConfigError> {
        let parse_error = |e: serde_yaml::Error| ConfigError::Parse { path: path.to_owned(), message: e.to_string() };
        let mut config = load_yaml::from_text(text).map_err(parse_error)?;
        if !overrides.is_empty() {
            let mut value: Value = serde_yaml::to_value(&config).map_err(parse_error)?;
            for change in overrides {
                load_yaml::change(&mut value, &change.keys, &change.value, &change.value_text)
                    .map_err(|message| ConfigError::Override { text: change.text.clone(), message })?;
            }
            config = load_yaml::from_value(value).map_err(|e| ConfigError::Override {
                text: overrides.iter().map(ToString::to_string).collect::<Vec<_>>().join(" --set "),
                message: e.to_string(),
            })?;
        }
        let resolved = Self { config, path: path.to_owned() };
        resolved.validate()?;
        Ok(resolved)
    }

    /// Returns the whole config as YAML, defaults spelled out.
    ///
    /// # Errors
    /// [`ConfigError::Parse`] if it cannot be written as YAML, which no config is known to cause.
    pub fn to_yaml(&self) -> Result<String, ConfigError> {
        serde_yaml::to_string(&self.config)
            .map_err(|e| ConfigError::Parse { path: self.path.clone(), message: e.to_string() })
    }

    /// Returns the sha256 (hex) of all that the weights depend on: everything except the cluster, the run folder's place,
    /// names, logging, retention, threads and caches. Two runs with the same digest may share checkpoints.
    ///
    /// A precision of `auto` counts as `bf16`, which was the default before there was `auto`, so that recipes that name none
    /// keep their digest. Run folders never hold it: they record what [`Config::settle_precision`] made of it.
    pub fn digest(&self) -> String {
        let config = self.config.without_surroundings();
        // serde_json writes struct fields in declaration order and floats in their shortest exact form.
        let mut text = serde_json::to_string(&config).unwrap_or_default();
        for (_, before, now) in RENAMED {
            // Within a string the quotes would be escaped: only keys read so.
            text = text.replace(&format!("\"{now}\":"), &format!("\"{before}\":"));
        }
        hex::encode(Sha256::digest(text.as_bytes()))
    }

    fn validate(&self) -> Result<(), ConfigError> {
        crate::validate::validate(&self.config).map_err(|(key, message)| ConfigError::Invalid {
            path: self.path.clone(),
            key: key.into_owned(),
            message,
        })
    }
}
