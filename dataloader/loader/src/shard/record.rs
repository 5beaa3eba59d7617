//! What a dataset says of an image pair, and the pair itself.

use defusion_config::Degradation;
use defusion_imaging::Image;

use super::file::Row;

/// What is known of an image pair without its pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Path of the degraded file in the source.
    pub key: String,
    /// The split.
    pub split: String,
    /// Categories of the degraded image, in order; empty for clean images.
    pub degradations: Vec<Degradation>,
    /// Pixels across.
    pub width: usize,
    /// Pixels down.
    pub height: usize,
    /// Whether there is a degraded image.
    pub has_lq: bool,
}

/// A degraded image and its clean one, or the same part of both.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The degraded image; equal to `hq` if the dataset has clean images only.
    pub lq: Image,
    /// The clean image.
    pub hq: Image,
}

impl Record {
    pub(super) fn of(row: &Row) -> Self {
        Self {
            key: row.key.clone(),
            split: row.split.to_string(),
            degradations: row.degradations.clone(),
            width: row.width as usize,
            height: row.height as usize,
            has_lq: row.lq.is_some(),
        }
    }
}
