//! Why nothing, or not everything, was evaluated.

use std::path::PathBuf;

use defusion_config::ConfigError;
use defusion_dataloader::shard::ShardError;

use crate::checkpoint::CheckpointError;
use crate::export::ExportError;
use crate::metrics::MetricError;
use crate::restore::{PictureFileError, RestorerError};
use crate::weights::WeightsError;

/// An error of an evaluation. Its text names the config key, dataset, picture or file.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// Nothing is configured.
    #[error(
        "evaluation.datasets is empty: name the datasets to evaluate in the config, or with \
         --set 'evaluation.datasets=[{{name: ..., synthesize: [[...]]}}]'"
    )]
    NoDatasets,
    /// A dataset without degraded pictures, and no chain to make them.
    #[error(
        "evaluation.datasets: {dataset} holds clean pictures only (the first without a degraded one: {key}); say how \
         to degrade them with `synthesize`"
    )]
    NothingToRemove {
        /// The dataset.
        dataset: String,
        /// A picture.
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
    /// A picture cannot be scored.
    #[error("dataset {dataset}, picture {key}: {source}")]
    Metric {
        /// The dataset.
        dataset: String,
        /// The picture.
        key: String,
        /// Why.
        source: MetricError,
    },
    /// The restorer does not fit the config.
    #[error(transparent)]
    Restorer(#[from] RestorerError),
    /// The config cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// LPIPS's weights cannot be used.
    #[error(transparent)]
    Lpips(#[from] WeightsError),
    /// The run's or file's weights cannot be used.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The run folder cannot be opened.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The contact sheet cannot be written.
    #[error(transparent)]
    Picture(#[from] PictureFileError),
    /// The report cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}
