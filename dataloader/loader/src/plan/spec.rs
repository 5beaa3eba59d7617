//! The make-up of one sample.

use defusion_imaging::Rng;

use super::TargetKind;

/// Purposes of a sample's streams of randomness. The numbers are part of the plan: they never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Parameters and noise of the degradation chain of the image.
    Synthesis = 1,
    /// Choice of the indicated categories.
    Indicated = 2,
    /// Ground, and degradations of the instruction.
    Instruction = 3,
    /// The natural element of the ground: which part of its image.
    Natural = 4,
    /// Choice whether the tokenizer is shown the clean ground.
    CleanGround = 5,
}

/// The make-up of sample `i`.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleSpec {
    /// Number of the sample, `i`.
    pub index: u64,
    /// Position of its dataset in `data.datasets`.
    pub dataset: usize,
    /// Number of its image among the dataset's training images.
    pub image: u64,
    /// Epoch: how often all images of the dataset have been shown before.
    pub epoch: u64,
    /// Place of the crop, as shares of the room there is, [0, 1): across and down.
    pub crop: [f64; 2],
    /// Whether it is mirrored left and right, and top and bottom.
    pub flips: [bool; 2],
    /// Number of the dataset's chain that is applied; `None` if it has none and its own degraded images are used.
    pub chain: Option<usize>,
    /// The relation of what is indicated to what is present.
    pub target: TargetKind,
    /// Number of the image that the natural element of the ground is cut from, in the same dataset and nearby.
    pub natural: u64,
    pub(super) stream: Rng,
}

impl SampleSpec {
    /// Returns the sample's stream of randomness for a purpose.
    pub fn rng(&self, purpose: Purpose) -> Rng {
        self.stream.fork(purpose as u64)
    }

    /// Left upper corner of the crop in an image of `width` x `height`; 0 along a side that is smaller than
    /// the crop.
    pub fn corner(&self, width: usize, height: usize, crop: usize) -> (usize, usize) {
        let at = |share: f64, size: usize| (share * (size.saturating_sub(crop) + 1) as f64) as usize;
        (at(self.crop[0], width), at(self.crop[1], height))
    }
}
