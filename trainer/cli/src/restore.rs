//! `defusion restore`.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use defusion_config::protocol::EXIT_USAGE;
use defusion_config::{Degradation, ParseDegradationError, Severity};
use defusion_imaging::image_file::{ImageFileError, check_writable, read_image, write_image};
use defusion_restore::export::{ExportError, Exported};
use defusion_restore::{Job, Restorer, RestorerError};
use tch::Device;

use crate::device;


/// Arguments of `defusion restore`.
#[derive(Clone, Debug, Args)]
pub struct RestoreArgs {
    /// Weights that `defusion export` wrote.
    #[arg(long)]
    pub weights: PathBuf,
    /// What to remove, in the order in which it happened, separated by commas: rain, heavy_rain, snow, raindrop, haze,
    /// motion_blur, defocus_blur, gaussian_blur, gaussian_noise (or noise), real_noise, jpeg, low_light, underwater.
    #[arg(long, value_delimiter = ',', value_parser = category, required_unless_present = "blind", conflicts_with = "blind")]
    pub degradation: Vec<Degradation>,
    /// Remove whatever is there: the instruction names every degradation that the weights were trained on.
    #[arg(long)]
    pub blind: bool,
    /// How strong the degradations are drawn on the instruction: light, medium, heavy, any.
    #[arg(long, default_value = "any", value_parser = severity)]
    pub severity: Severity,
    /// Images to restore: PNG, JPEG, BMP or TIFF.
    #[arg(required = true)]
    pub images: Vec<PathBuf>,
    /// The restored image (.png or .jpg), or a folder that exists: one PNG of the same name for each image.
    #[arg(long)]
    pub out: PathBuf,
    /// Replace files that exist.
    #[arg(long)]
    pub force: bool,
    /// Seed of the instruction's ground and of y_T.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// DDIM timesteps from noisy to clean, separated by commas; those of the weights' config otherwise.
    #[arg(long, value_delimiter = ',')]
    pub timesteps: Vec<i64>,
    /// Tiles that the U-Net sees at once.
    #[arg(long, default_value_t = 4)]
    pub batch: usize,
    /// cpu or cuda:N; the first GPU, if there is one, otherwise.
    #[arg(long, value_parser = device::parse)]
    pub device: Option<Device>,
}

/// Why images were not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The weights cannot be used.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// An image cannot be read or written.
    #[error(transparent)]
    Image(#[from] ImageFileError),
    /// The config in the weights cannot work.
    #[error("{}: {source}", path.display())]
    Restorer {
        /// Weights or image.
        path: PathBuf,
        /// Why.
        source: Box<RestorerError>,
    },
    /// `--timesteps` cannot work.
    #[error("--timesteps must fall strictly and lie in 0..{0}")]
    Timesteps(i64),
    /// Several images, one file.
    #[error("--out {}: {count} images need a folder that exists", path.display())]
    Folder {
        /// As given.
        path: PathBuf,
        /// Images.
        count: usize,
    },
    /// Two images would have one name.
    #[error("{} would be written twice: two of the images have this name", path.display())]
    Twice {
        /// The file.
        path: PathBuf,
    },
}

impl RestoreError {
    /// Returns the command's exit code (`defusion_config::protocol`).
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Export(source) => source.exit_code(),
            Self::Image(source) => source.exit_code(),
            Self::Restorer { source, .. } => source.exit_code(),
            Self::Timesteps(_) | Self::Folder { .. } | Self::Twice { .. } => EXIT_USAGE,
        }
    }
}

/// Restores images one by one and prints the files written.
///
/// # Errors
/// [`RestoreError`]. What can be known to fail (weights, output names, files that exist) fails before any work.
pub fn run_restore(args: &RestoreArgs) -> Result<(), RestoreError> {
    let outputs = outputs(args)?;
    for out in &outputs {
        check_writable(out, args.force)?;
    }
    let device = args.device.unwrap_or_else(Device::cuda_if_available);
    let (exported, networks) = Exported::open(&args.weights, device)?;
    let mut config = exported.config;
    if !args.timesteps.is_empty() {
        let last = config.diffusion.timesteps;
        if !args.timesteps.windows(2).all(|w| w[0] > w[1]) || !args.timesteps.iter().all(|t| (0..last).contains(t)) {
            return Err(RestoreError::Timesteps(last));
        }
        config.diffusion.sampler.timesteps.clone_from(&args.timesteps);
    }
    // The run's folders of ground images belong to the machine it was trained on.
    for folder in [&mut config.data.grounds.natural, &mut config.data.grounds.charts] {
        if let Some(path) = folder.take_if(|path| !Path::new(path.as_str()).is_dir()) {
            tracing::warn!("ground images in {path} are not here: procedural elements are drawn instead");
        }
    }
    let categories = if args.blind { trained_categories(&config) } else { args.degradation.clone() };
    let restorer = Restorer::new(networks.tokenizer(), networks.unet(), &config, device, args.batch)
        .map_err(|e| RestoreError::Restorer { path: args.weights.clone(), source: Box::new(e) })?;
    for (path, out) in args.images.iter().zip(&outputs) {
        let image = read_image(path)?;
        let job = Job { image: &image, categories: &categories, severity: args.severity, seed: args.seed };
        let restored =
            restorer.restore(job).map_err(|e| RestoreError::Restorer { path: path.clone(), source: Box::new(e) })?;
        write_image(out, &restored.image, args.force)?;
        println!("{}", out.display());
    }
    Ok(())
}

/// One output for each image.
fn outputs(args: &RestoreArgs) -> Result<Vec<PathBuf>, RestoreError> {
    if !args.out.is_dir() {
        return match args.images.len() {
            1 => Ok(vec![args.out.clone()]),
            count => Err(RestoreError::Folder { path: args.out.clone(), count }),
        };
    }
    let name = |path: &PathBuf| args.out.join(path.file_stem().unwrap_or_default()).with_extension("png");
    let outputs: Vec<PathBuf> = args.images.iter().map(name).collect();
    match (1..outputs.len()).find(|&i| outputs[..i].contains(&outputs[i])) {
        Some(i) => Err(RestoreError::Twice { path: outputs[i].clone() }),
        None => Ok(outputs),
    }
}

/// Every category that the run trained on, in the order of [`Degradation::ALL`].
fn trained_categories(config: &defusion_config::Config) -> Vec<Degradation> {
    let trained: Vec<Degradation> =
        config.data.datasets.iter().flat_map(|set| set.synthesize.iter().flatten()).copied().collect();
    Degradation::ALL.into_iter().filter(|d| trained.is_empty() || trained.contains(d)).collect()
}

/// A category's name; `noise` stands for `gaussian_noise`.
fn category(name: &str) -> Result<Degradation, ParseDegradationError> {
    match name.trim() {
        "noise" => Ok(Degradation::GaussianNoise),
        name => Degradation::from_str(name),
    }
}

fn severity(name: &str) -> Result<Severity, String> {
    match name {
        "light" => Ok(Severity::Light),
        "medium" => Ok(Severity::Medium),
        "heavy" => Ok(Severity::Heavy),
        "any" => Ok(Severity::Any),
        other => Err(format!("`{other}` is none of light, medium, heavy, any")),
    }
}
