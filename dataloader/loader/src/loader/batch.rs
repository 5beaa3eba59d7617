//! What a training step is fed with.

use defusion_config::Degradation;

/// A rank's part of one step's samples, in plain memory. All values are float32 in [-1, 1], planes red, green, blue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Number of the first sample; the others follow it.
    pub first_sample: u64,
    /// Samples, B; at least one.
    pub len: usize,
    /// Samples of the step over all ranks.
    pub step_len: usize,
    /// Weight of this rank's mean in a mean over ranks, so that each sample of the step counts alike: 1 if shares are even,
    /// 0 if the rank has no sample and computes a neighbour's only to take part.
    pub weight: f64,
    /// Side of the images, pixels.
    pub crop: usize,
    /// Side of the instructions, pixels.
    pub size: usize,
    /// Degraded images x_LQ, `[B, 3, crop, crop]`. Empty in the tokenizer's stage.
    pub lq: Vec<f32>,
    /// T_v(x_LQ): the same images with the indicated degradations removed. Empty in the tokenizer's stage.
    pub target: Vec<f32>,
    /// Visual instructions v, `[B, 3, size, size]`. In the tokenizer's stage some are their clean ground.
    pub instruction: Vec<f32>,
    /// The clean grounds of the instructions, `[B, 3, size, size]`.
    pub null_ground: Vec<f32>,
    /// Names of each sample, its degradations and those indicated.
    pub labels: Vec<Label>,
}

/// The dataset, the image and the degradations of a sample.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// Name of the dataset.
    pub dataset: String,
    /// Path of its image in the dataset's source.
    pub key: String,
    /// Degradations of the image, in order.
    pub present: Vec<Degradation>,
    /// Degradations that the instruction names, in its order.
    pub indicated: Vec<Degradation>,
}

/// The memory of one sample within a batch.
pub(crate) struct Slot<'a> {
    pub(crate) lq: &'a mut [f32],
    pub(crate) target: &'a mut [f32],
    pub(crate) instruction: &'a mut [f32],
    pub(crate) null_ground: &'a mut [f32],
}

impl Batch {
    /// Makes room for `len` samples; without images if `crop` is 0.
    pub(crate) fn zeros(first_sample: u64, len: usize, crop: usize, size: usize) -> Self {
        let images = || vec![0.0; len * 3 * crop * crop];
        let grounds = || vec![0.0; len * 3 * size * size];
        Self {
            first_sample,
            len,
            step_len: len,
            weight: 1.0,
            crop,
            size,
            lq: images(),
            target: images(),
            instruction: grounds(),
            null_ground: grounds(),
            labels: Vec::new(),
        }
    }

    /// Returns the names of the samples that count: all, or none if the rank has no sample of its own.
    pub fn counted(&self) -> &[Label] {
        if self.weight > 0.0 { &self.labels } else { &[] }
    }

    /// Splits the batch into the memory of each sample.
    pub(crate) fn slots(&mut self) -> Vec<Slot<'_>> {
        let len = self.len;
        let images = split(&mut self.lq, len).into_iter().zip(split(&mut self.target, len));
        let grounds = split(&mut self.instruction, len).into_iter().zip(split(&mut self.null_ground, len));
        images
            .zip(grounds)
            .map(|((lq, target), (instruction, null_ground))| Slot { lq, target, instruction, null_ground })
            .collect()
    }
}

/// `values` in `len` equal parts, which may be empty.
fn split(values: &mut [f32], len: usize) -> Vec<&mut [f32]> {
    let part = values.len() / len.max(1);
    let mut rest = values;
    (0..len)
        .map(|_| {
            let (first, others) = std::mem::take(&mut rest).split_at_mut(part);
            rest = others;
            first
        })
        .collect()
}
