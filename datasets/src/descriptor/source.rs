//! Where a split's files lie and which belong together.

use std::collections::BTreeMap;

use defusion_config::Degradation;
use serde::{Deserialize, Deserializer};

use crate::Template;

/// One group of files of a split.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Layouts in the order they are tried; the first that any file fits is used. Mirrors differ.
    pub layouts: Vec<Layout>,
    /// Categories of this group, if they are not the dataset's.
    #[serde(default)]
    pub degradations: Option<Vec<Degradation>>,
    /// Ranges `[first, last]` that the numeric fields of a pair must lie in.
    #[serde(default, rename = "where")]
    pub within: BTreeMap<String, [u64; 2]>,
    /// Share of the pairs that is taken, chosen by seed. Unset: all.
    #[serde(default)]
    pub share: Option<Share>,
}

/// How the files of a group lie and which belong together.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// Template of the degraded images. Unset: clean images only.
    #[serde(default, deserialize_with = "optional_template")]
    pub lq: Option<Template>,
    /// Template of the clean images.
    #[serde(deserialize_with = "template")]
    pub gt: Template,
    /// How the two sides find each other.
    #[serde(default)]
    pub pairing: Pairing,
    /// List file (text), relative to the root, that names the pairs: one pair per line, its columns told apart by which
    /// template they fit, paths relative to the root. Unset: files are found by the templates.
    #[serde(default)]
    pub list: Option<String>,
    /// What to do if the clean image is larger.
    #[serde(default)]
    pub fit: Fit,
}

/// How degraded images find their clean ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pairing {
    /// By the values of all fields that both templates have, the extension aside.
    #[default]
    Fields,
    /// By rank among the sorted file names, for sets whose names differ; within each group of equal values of the fields
    /// that both templates share.
    Rank,
}

/// What to do if the clean image is larger than the degraded one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// Refuse the pair.
    #[default]
    Exact,
    /// Take the centre of the clean image.
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
    /// The rest.
    Rest,
}

fn template<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Template, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

fn optional_template<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Template>, D::Error> {
    template(deserializer).map(Some)
}
