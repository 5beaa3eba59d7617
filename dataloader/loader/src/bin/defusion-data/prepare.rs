//! `defusion-data prepare`.

use std::path::{Path, PathBuf};

use clap::Args;
use defusion_config::Degradation;
use defusion_dataloader::prepare::{self, PrepareOptions, Progress};
use defusion_dataloader::shard::{DEFAULT_TILE, TileCodec};
use defusion_datasets::Descriptor;

use crate::failure::Failure;
use crate::progress::ProgressDisplay;

/// Arguments of `defusion-data prepare`.
#[derive(Debug, Args)]
pub(crate) struct PrepareArgs {
    /// Name of the dataset: one that is known, or any name together with --layout.
    #[arg(long)]
    dataset: String,
    /// Descriptor to read the folder by, a known name or a YAML file; without it, the dataset's own.
    /// `folder` takes every image below a folder, `pairs` takes input/ and target/, `csv` a list of pairs.
    #[arg(long)]
    layout: Option<String>,
    /// The dataset's folder, or the list of `--layout csv`.
    #[arg(long)]
    from: PathBuf,
    /// Folder or URL below which the shards go, in a folder of the dataset's name.
    #[arg(long)]
    to: String,
    /// Name of the split, if the layout has a single one.
    #[arg(long)]
    split: Option<String>,
    /// How the degraded images of a `pairs` layout are degraded.
    #[arg(long, value_delimiter = ',')]
    degradations: Vec<Degradation>,
    /// How tiles are packed: zstd, as small as PNG; lz4, quicker to unpack; raw, not at all. All are lossless.
    #[arg(long, default_value = TileCodec::default().name())]
    codec: TileCodec,
    /// Side of a tile, pixels: what a crop reads beyond its own edge.
    #[arg(long, default_value_t = DEFAULT_TILE)]
    tile: u32,
    /// Threads; 0: one for each core.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Replace what was prepared before.
    #[arg(long)]
    overwrite: bool,
    /// Leave out images with a problem instead of stopping.
    #[arg(long)]
    leave_out_problems: bool,
}

/// Makes the shards and prints the report.
pub(crate) fn run(args: &PrepareArgs) -> Result<(), Failure> {
    let layout = args.layout.as_deref().unwrap_or(&args.dataset);
    let listing = if layout == "csv" {
        defusion_datasets::scan_csv(&args.from)?
    } else {
        let descriptor = match Path::new(layout).extension() {
            Some(e) if e == "yaml" || e == "yml" => Descriptor::load(Path::new(layout))?,
            _ => defusion_datasets::find(layout)?,
        };
        prepare::list_source(&descriptor, &args.from, args.split.as_deref(), &args.degradations)?
    };
    let options = PrepareOptions {
        codec: args.codec,
        tile: args.tile,
        threads: args.threads,
        overwrite: args.overwrite,
        leave_out_problems: args.leave_out_problems,
        ..PrepareOptions::new(&args.dataset, &args.to)
    };
    let display = ProgressDisplay::new();
    let report = prepare::prepare(listing, &options, &|progress| match progress {
        Progress::Inspected { done, total } => display.at("inspected", done, total),
        Progress::Packed { done, total } => display.at("packed", done, total),
    })?;
    drop(display);
    crate::show(&report.to_string())
}
