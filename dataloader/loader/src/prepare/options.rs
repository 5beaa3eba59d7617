//! Options of a preparation, and its progress.

use crate::shard::{DEFAULT_TILE, TileCodec};

/// Options of a preparation.
#[derive(Clone, Debug)]
pub struct PrepareOptions {
    /// Name of the dataset: its folder below `to`, and in the manifest.
    pub dataset: String,
    /// Folder or URL that holds one folder of shards per dataset: `data.shards` of the config.
    pub to: String,
    /// Side of a tile, pixels.
    pub tile: u32,
    /// Packing of tiles.
    pub codec: TileCodec,
    /// Decoded bytes of the images of one shard; a shard takes about half of that.
    pub shard_bytes: u64,
    /// An image with more pixels is a problem.
    pub max_pixels: u64,
    /// Threads that decode and pack; 0: one per core.
    pub threads: usize,
    /// Replace a finished dataset, or the unfinished one of another source.
    pub overwrite: bool,
    /// Leave out the images that have a problem, and go on with other counts than published. Otherwise any problem
    /// ends the preparation without a manifest.
    pub leave_out_problems: bool,
}

impl PrepareOptions {
    /// Returns the usual options.
    pub fn new(dataset: impl Into<String>, to: impl Into<String>) -> Self {
        Self {
            dataset: dataset.into(),
            to: to.into(),
            tile: DEFAULT_TILE,
            codec: TileCodec::default(),
            shard_bytes: 256 << 20,
            max_pixels: 100_000_000,
            threads: 0,
            overwrite: false,
            leave_out_problems: false,
        }
    }

    pub(crate) fn threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        }
    }
}

/// Progress of a preparation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Headers of files read.
    Inspected {
        /// Pairs done.
        done: u64,
        /// Pairs in all.
        total: u64,
    },
    /// Pairs decoded and packed, those of shards found finished included.
    Packed {
        /// Pairs done.
        done: u64,
        /// Pairs in all.
        total: u64,
    },
}
