//! What a folder of a dataset holds.

use std::path::PathBuf;

use defusion_config::Degradation;

use crate::{Fit, PassedOver, Problem};

/// One degraded image and its clean one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Path of the degraded file relative to the dataset's root, or of the clean one if there is none. Unique within the
    /// split.
    pub key: String,
    /// Name of the split.
    pub split: String,
    /// Categories of the degraded image, in order.
    pub degradations: Vec<Degradation>,
    /// Path of the degraded image; `None` if the set has clean images only.
    pub lq: Option<PathBuf>,
    /// Path of the clean image.
    pub gt: PathBuf,
    /// What to do if the clean image is larger.
    pub fit: Fit,
}

/// What a folder holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// All pairs, by split and then by key.
    pub pairs: Vec<Pair>,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
    /// The folder that the files of problems are relative to.
    pub root: PathBuf,
    /// Names of the descriptor's splits of which no file is there.
    pub absent: Vec<String>,
    /// What else lies in the folder.
    pub passed_over: PassedOver,
}
