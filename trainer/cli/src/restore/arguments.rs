//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use defusion_config::{Degradation, ParseDegradationError, Precision, Severity};
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
    /// Images to restore, PNG, JPEG, WebP, BMP or TIFF; or folders of them, with all that is below.
    #[arg(required = true)]
    pub images: Vec<PathBuf>,
    /// The restored image (.png, .jpg or .tif); or a folder that exists (of a folder's images: that is made): a PNG for each
    /// image, of the same name, in the same folders. What is there already is taken as finished.
    #[arg(long)]
    pub out: PathBuf,
    /// Replace files that exist.
    #[arg(long)]
    pub force: bool,
    /// Seed of the instruction's ground, of y_T, and of the noise that steps add if eta is above 0.
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
    /// What the U-Net computes with: bf16, fp32, or auto: bf16 where the device multiplies it natively, fp32 elsewhere.
    #[arg(long, default_value_t = Precision::Auto)]
    pub precision: Precision,
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
