//! Why nothing, or not everything, was evaluated.

use defusion_config::protocol::{EXIT_FAILED, EXIT_USAGE};
use defusion_dataloader::shard::ShardError;

use crate::RestorerError;
use crate::metrics::MetricError;

/// An error of an evaluation. Its text names the config key, dataset, image or file.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// Nothing is configured.
    #[error(
        "evaluation.datasets is empty: name the datasets to evaluate in the config, or with \
         --set 'evaluation.datasets=[{{name: ..., synthesize: [[...]]}}]'"
    )]
    NoDatasets,
    /// A dataset without degraded images, and no chain to make them.
    #[error(
        "evaluation.datasets: {dataset} holds clean images only (the first without a degraded one: {key}); say how \
         to degrade them with `synthesize`"
    )]
    NothingToRemove {
        /// The dataset.
        dataset: String,
        /// An image.
        key: String,
    },
    /// A dataset cannot be read.
    #[error("dataset {dataset}: {source}")]
    Shard {
        /// The dataset.
        dataset: String,
        /// Why.
        source: ShardError,
    },
    /// An image cannot be scored.
    #[error("dataset {dataset}, image {key}: {source}")]
    Metric {
        /// The dataset.
        dataset: String,
        /// The image.
        key: String,
        /// Why.
        source: MetricError,
    },
    /// The restorer does not fit the config.
    #[error(transparent)]
    Restorer(#[from] RestorerError),
}

impl EvaluateError {
    /// Returns whether starting the same command again can help.
    pub fn is_transient(&self) -> bool {
        self.exit_code() == EXIT_FAILED
    }

    /// Returns the exit code of a program that fails of it (`defusion_config::protocol`).
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Shard { source, .. } => source.exit_code(),
            Self::Restorer(source) => source.exit_code(),
            Self::NoDatasets | Self::NothingToRemove { .. } | Self::Metric { .. } => EXIT_USAGE,
        }
    }
}
