//! How near a restored image is to the clean one: PSNR and SSIM on 8-bit RGB and on BT.601 luma.
//!
//! The literature's tables differ in the channel they score, so both are always computed and both are named. Whole
//! frames count, no border is cut. Nothing here needs libtorch; LPIPS, which does, is [`defusion_model::networks::lpips`].

mod planes;
mod psnr;
mod ssim;

pub use planes::Planes;
pub use psnr::psnr;
pub use ssim::{WINDOW, ssim};

use defusion_imaging::Image;
use serde::{Deserialize, Serialize};

/// Two images that cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetricError {
    /// They differ in size.
    #[error("images of {0}x{1} and {2}x{3} pixels cannot be compared; crop or resize them to one size first")]
    Size(usize, usize, usize, usize),
    /// One of their planes was built with another number of channels.
    #[error("images of {0} and {1} channels cannot be compared")]
    Channels(usize, usize),
    /// SSIM's window does not fit.
    #[error("an image of {0}x{1} pixels is too small for SSIM's window of {WINDOW}x{WINDOW}")]
    TooSmall(usize, usize),
}

/// PSNR (dB) and SSIM of one image against its reference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// PSNR over all three channels, dB. Infinite if the 8-bit images are equal.
    pub psnr_rgb: f64,
    /// Mean of the three channels' SSIM; not a number if a side is below [`WINDOW`].
    pub ssim_rgb: f64,
    /// PSNR of luma, dB.
    pub psnr_y: f64,
    /// SSIM of luma; not a number if a side is below [`WINDOW`].
    pub ssim_y: f64,
}

/// Scores `image` against `reference`, both first rounded to 8 bit as a file would hold them.
///
/// # Errors
/// [`MetricError`] if the sizes differ.
pub fn score(image: &Image, reference: &Image) -> Result<Scores, MetricError> {
    let (a, b) = (Planes::rgb(image), Planes::rgb(reference));
    let (a_y, b_y) = (a.luma(), b.luma());
    // What is not defined for an image is left out; the rest still says something.
    let defined = |ssim| match ssim {
        Err(MetricError::TooSmall(..)) => Ok(f64::NAN),
        other => other,
    };
    Ok(Scores {
        psnr_rgb: psnr(&a, &b)?,
        ssim_rgb: defined(ssim(&a, &b))?,
        psnr_y: psnr(&a_y, &b_y)?,
        ssim_y: defined(ssim(&a_y, &b_y))?,
    })
}
