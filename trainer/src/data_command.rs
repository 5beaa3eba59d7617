//! `defusion data`: list, prepare, verify and preview datasets.

mod list;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use clap::{Args, Subcommand};
use defusion_config::{Degradation, Override, Resolved};
use defusion_dataloader::ground::Pool;
use defusion_dataloader::shard::{DEFAULT_TILE, TileCodec};
use defusion_dataloader::{Picture, prepare, preview, verify};
use defusion_datasets::Descriptor;
use indicatif::{ProgressBar, ProgressStyle};

type Failure = Box<dyn std::error::Error>;

/// What to do with datasets.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Show the datasets that are known, and those that are prepared.
    List(ListArgs),
    /// Make shards from a dataset's folder.
    Prepare(PrepareArgs),
    /// Check every byte and every pixel block of prepared datasets.
    Verify(VerifyArgs),
    /// Draw galleries of degradations, instructions and grounds.
    Preview(PreviewArgs),
}

/// Arguments of `defusion data list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Folder or URL of shards: shows what is prepared there. May be repeated.
    #[arg(long)]
    shards: Vec<String>,
}

/// Arguments of `defusion data prepare`.
#[derive(Debug, Args)]
pub struct PrepareArgs {
    /// Name of the dataset: one that is known, or any name together with --layout.
    #[arg(long)]
    dataset: String,
    /// Descriptor to read the folder by, a known name or a YAML file; the dataset's own where this is left out.
    /// `folder` takes every picture below a folder, `pairs` takes input/ and target/, `csv` a list of pairs.
    #[arg(long)]
    layout: Option<String>,
    /// The dataset's folder, or the list of `--layout csv`.
    #[arg(long)]
    from: PathBuf,
    /// Folder or URL below which the shards go, in a folder of the dataset's name.
    #[arg(long)]
    to: String,
    /// Name of the split, where the layout has a single one.
    #[arg(long)]
    split: Option<String>,
    /// How the degraded pictures of a `pairs` layout are degraded.
    #[arg(long, value_delimiter = ',')]
    degradations: Vec<Degradation>,
    /// How tiles are packed: zstd, as small as PNG; lz4, quicker to unpack; raw, not at all. All are lossless.
    #[arg(long, default_value = TileCodec::default().name())]
    codec: TileCodec,
    /// Side of a tile, pixels: what a crop reads beyond its own edge.
    #[arg(long, default_value_t = DEFAULT_TILE)]
    tile: u32,
    /// Threads; all cores where this is left out.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Replace what was prepared before.
    #[arg(long)]
    overwrite: bool,
    /// Leave out pictures with a problem instead of stopping.
    #[arg(long)]
    leave_out_problems: bool,
}

/// Arguments of `defusion data verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Folders or URLs of prepared datasets.
    #[arg(required = true)]
    urls: Vec<String>,
    /// Threads; all cores where this is left out.
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

/// Arguments of `defusion data preview`.
#[derive(Debug, Args)]
pub struct PreviewArgs {
    /// Config whose ranges and grounds are shown.
    #[arg(long)]
    config: PathBuf,
    /// Changes to the config: dotted.key=value.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<Override>,
    /// A clean photograph to degrade.
    #[arg(long)]
    picture: PathBuf,
    /// Picture to write, PNG or JPEG; the grounds go beside it.
    #[arg(long)]
    out: PathBuf,
    /// Degradations shown, separated by commas; all where this is left out.
    #[arg(long, value_delimiter = ',')]
    categories: Vec<Degradation>,
    /// Other draws.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Width of a cell, pixels.
    #[arg(long, default_value_t = 160)]
    cell: usize,
}

/// Runs `defusion data ...`.
///
/// # Errors
/// What the command could not do; its text names the file or key.
pub fn run_data(command: &DataCommand) -> Result<(), Failure> {
    match command {
        DataCommand::List(args) => show(&list::list(&args.shards)?),
        DataCommand::Prepare(args) => run_prepare(args),
        DataCommand::Verify(args) => run_verify(args),
        DataCommand::Preview(args) => run_preview(args),
    }
}

/// Writes to standard output; a reader that has seen enough, such as `head`, is no error.
fn show(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(()),
    }
}

fn run_prepare(args: &PrepareArgs) -> Result<(), Failure> {
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
    let options = prepare::Options {
        codec: args.codec,
        tile: args.tile,
        threads: args.threads,
        overwrite: args.overwrite,
        leave_out_problems: args.leave_out_problems,
        ..prepare::Options::new(&args.dataset, &args.to)
    };
    let shown = Shown::new();
    let report = prepare::prepare(listing, &options, &|progress| match progress {
        prepare::Progress::Inspected { done, total } => shown.at("inspected", done, total),
        prepare::Progress::Packed { done, total } => shown.at("packed", done, total),
    })?;
    drop(shown);
    show(&report.to_string())
}

fn run_verify(args: &VerifyArgs) -> Result<(), Failure> {
    let mut damaged = 0;
    for url in &args.urls {
        let shown = Shown::new();
        let verified = verify::verify(url, args.threads, &|done, total| shown.at("verified", done, total))?;
        drop(shown);
        show(&verified.to_string())?;
        damaged += verified.problems.len();
    }
    match damaged {
        0 => Ok(()),
        n => Err(format!("{n} shards are damaged; prepare their datasets again").into()),
    }
}

fn run_preview(args: &PreviewArgs) -> Result<(), Failure> {
    let config = Resolved::load(&args.config, &args.sets)?.config;
    let picture: Picture = crate::restore::read_picture(&args.picture)?;
    let pool = Pool::open(&config.data.grounds)?;
    let categories = if args.categories.is_empty() { &Degradation::ALL[..] } else { &args.categories };
    let synthesis = &config.data.synthesis;
    for file in preview::write(&args.out, &picture, &pool, synthesis, categories, args.seed, args.cell)? {
        println!("{}", file.display());
    }
    Ok(())
}

/// Progress: a bar on a terminal, otherwise a line at each tenth.
struct Shown {
    bar: Option<ProgressBar>,
    said: Mutex<(&'static str, u64)>,
}

impl Shown {
    fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{msg:>10} {bar:40} {pos}/{len} {eta}");
            ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar, said: Mutex::new(("", 0)) }
    }

    fn at(&self, what: &'static str, done: u64, total: u64) {
        if let Some(bar) = &self.bar {
            if bar.message() != what {
                // A bar of its own for each part of the work: the time that the one before took says nothing.
                bar.reset();
                bar.set_length(total);
                bar.set_message(what);
            }
            bar.set_position(done);
            return;
        }
        if done == 0 {
            return;
        }
        let tenth = done * 10 / total.max(1);
        // A poisoned lock only means that another thread failed, which that thread tells.
        let Ok(mut said) = self.said.lock() else { return };
        if *said != (what, tenth) {
            *said = (what, tenth);
            eprintln!("{what} {done}/{total}");
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
