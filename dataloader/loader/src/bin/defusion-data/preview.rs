//! `defusion-data preview`.

use std::path::PathBuf;

use clap::Args;
use defusion_config::{Degradation, Override, Resolved};
use defusion_dataloader::preview;
use defusion_imaging::ground::Pool;
use defusion_imaging::read_image;

use crate::failure::Failure;

/// Arguments of `defusion-data preview`.
#[derive(Debug, Args)]
pub(crate) struct PreviewArgs {
    /// Config whose ranges and grounds are shown.
    #[arg(long)]
    config: PathBuf,
    /// Changes to the config: dotted.key=value.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<Override>,
    /// A clean photograph to degrade.
    #[arg(long)]
    image: PathBuf,
    /// Image to write, PNG or JPEG; the grounds go beside it.
    #[arg(long)]
    out: PathBuf,
    /// Degradations shown, separated by commas; without it, all.
    #[arg(long, value_delimiter = ',')]
    categories: Vec<Degradation>,
    /// Seed: another one gives other draws.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Width of a cell, pixels.
    #[arg(long, default_value_t = 160)]
    cell: usize,
}

/// Draws both galleries and prints the files' names.
pub(crate) fn run(args: &PreviewArgs) -> Result<(), Failure> {
    let config = Resolved::load(&args.config, &args.sets)?.config;
    let image = read_image(&args.image)?;
    let pool = Pool::open(&config.data.grounds)?;
    let categories = if args.categories.is_empty() { &Degradation::ALL[..] } else { &args.categories };
    let synthesis = &config.data.synthesis;
    for file in preview::write(&args.out, &image, &pool, synthesis, categories, args.seed, args.cell)? {
        crate::show(&format!("{}\n", file.display()))?;
    }
    Ok(())
}
