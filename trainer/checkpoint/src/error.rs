//! Errors of run folders.

use defusion_config::protocol::{EXIT_FAILED, EXIT_USAGE};
use defusion_storage::StoreError;

use crate::names::CheckpointId;

/// An error of a run folder or one of its checkpoints. Its text names the object and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The store failed, after its retries.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The folder belongs to a run of another config.
    #[error(
        "run folder {folder} holds a run of another config (digest {theirs}; this config has {ours}). \
         Nothing was written. Set `run` to another folder, or use the folder's own config.yaml to go on with it"
    )]
    OtherConfig {
        /// The folder.
        folder: String,
        /// Digest of the run in the folder.
        theirs: String,
        /// Digest of the config at hand.
        ours: String,
    },
    /// The folder belongs to a run of another config, which weights depend on.
    #[error(
        "run folder {folder} holds a run with another config:\n  {keys}\nNothing was written. Set these keys to what they were \
         to go on with the run, or set `run` to another folder to begin a new one"
    )]
    OtherKeys {
        /// The folder.
        folder: String,
        /// Each key with both values, a line each.
        keys: String,
    },
    /// A dataset is another one than the run has been trained on.
    #[error(
        "dataset {dataset} has other shards than this run has been trained on ({theirs}, now {ours}): it was prepared anew. \
         Let data.shards name the shards from before, or set `run` to another folder; to go on with the new shards \
         knowingly, delete {record}"
    )]
    OtherData {
        /// The dataset.
        dataset: String,
        /// What it was.
        theirs: String,
        /// What it is.
        ours: String,
        /// The file that says so.
        record: String,
    },
    /// A file of the run folder that is no checkpoint's does not parse.
    #[error("{file}: {message}")]
    BadFile {
        /// The object.
        file: String,
        /// The fault, and what to do.
        message: String,
    },
    /// A checkpoint's bytes are not what its manifest says, or its manifest is wrong.
    #[error("checkpoint {checkpoint} is damaged: {file}: {message}")]
    Damaged {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// The file within it.
        file: String,
        /// The fault.
        message: String,
    },
    /// There are checkpoints and none can be loaded.
    #[error(
        "none of the {count} checkpoints in {folder} can be loaded; the newest: {newest}. \
         To start the run again from the beginning, move the folder's `checkpoints` away"
    )]
    NoneUsable {
        /// The run folder.
        folder: String,
        /// Checkpoints found.
        count: usize,
        /// The newest one's fault.
        newest: String,
    },
    /// A later start of the job has taken the folder over.
    #[error(
        "run folder {folder} was taken over by a later start of the job ({by}); this job, attempt {ours}, must stop"
    )]
    LostOwnership {
        /// The folder.
        folder: String,
        /// Number of this job's attempt.
        ours: u32,
        /// The later attempt, its host and process.
        by: String,
    },
    /// Other ranks did not upload their shares in time.
    #[error(
        "checkpoint {checkpoint}: after {seconds} s the shares of ranks {ranks:?} are missing; \
         the checkpoint is left unfinished and will not be used"
    )]
    MissingParts {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// Ranks, from 0.
        ranks: Vec<usize>,
        /// Seconds that they were waited for.
        seconds: u64,
    },
    /// State that cannot be saved, or that does not fit where it is to be loaded.
    #[error("state `{group}`: {message}")]
    State {
        /// The group of tensors.
        group: String,
        /// The tensor and its fault.
        message: String,
    },
    /// The background task ended without a result.
    #[error("checkpoint {checkpoint}: the upload ended without a result: {message}")]
    Interrupted {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// The cause.
        message: String,
    },
}

impl CheckpointError {
    /// Returns whether starting again can help: the store may answer, a rank that was lost comes back, an older
    /// checkpoint stands in for a damaged one.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(source) => source.is_transient(),
            Self::Damaged { .. }
            | Self::LostOwnership { .. }
            | Self::MissingParts { .. }
            | Self::State { .. }
            | Self::Interrupted { .. } => true,
            Self::OtherConfig { .. }
            | Self::OtherKeys { .. }
            | Self::OtherData { .. }
            | Self::BadFile { .. }
            | Self::NoneUsable { .. } => false,
        }
    }

    /// Returns the exit code that says so to the launcher.
    pub fn exit_code(&self) -> i32 {
        if self.is_transient() { EXIT_FAILED } else { EXIT_USAGE }
    }
}
