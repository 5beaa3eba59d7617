//! Options and report of [`crate::DataParallel`].

use std::time::{Duration, Instant};

use tch::Tensor;

use crate::buckets::BucketSizes;
use crate::collective::Timing;

/// The treatment of parameters that a step does not use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unused {
    /// Their gradient is zero on this rank.
    Zero,
    /// [`crate::DataParallel::finish`] fails with their names.
    Refuse,
}

/// Options of [`crate::DataParallel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataParallelOptions {
    /// Bucket sizes.
    pub sizes: BucketSizes,
    /// Treatment of parameters that a step does not use.
    pub unused: Unused,
}

/// The times of a step's reduction, and the loss.
#[derive(Debug)]
pub struct ReductionReport {
    /// Time in backward passes, all micro-batches.
    pub backward: Duration,
    /// Time that [`crate::DataParallel::finish`] waited for buckets: communication that backward did not hide.
    pub exposed: Duration,
    /// When the last backward pass ended.
    pub backward_ended: Instant,
    /// When each bucket was reduced, in order. On CUDA: enqueued.
    pub buckets: Vec<Timing>,
    /// The loss, mean over ranks and micro-batches: float32 scalar on the parameters' device. Non-finite on every
    /// rank if it is on one.
    pub mean_loss: Tensor,
}
