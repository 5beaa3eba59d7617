//! Options of saving.

use std::time::Duration;

use defusion_config::Checkpoints;
use defusion_storage::Retry;

/// The terms on which checkpoints are written and kept.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointOptions {
    /// Newest whole checkpoints kept, at least 1.
    pub keep: u32,
    /// Checkpoints at multiples of this step are kept for ever; 0: none.
    pub keep_every: u64,
    /// Retries of every operation on the store.
    pub retry: Retry,
    /// Longest wait of rank 0 for the shares of the others.
    pub part_timeout: Duration,
    /// Longest pause between two looks for them.
    pub part_poll: Duration,
}

impl From<&Checkpoints> for CheckpointOptions {
    fn from(config: &Checkpoints) -> Self {
        Self {
            keep: config.keep,
            keep_every: config.keep_every,
            retry: Retry::default(),
            part_timeout: Duration::from_secs(30 * 60),
            part_poll: Duration::from_secs(2),
        }
    }
}
