//! Inference and scoring: restoring images with trained networks, exporting them, and measuring the result.
//!
//! [`Restorer`] turns a degraded image and the names of its degradations into a restored one; [`export`] makes one file
//! of weights out of a run; [`evaluate`] scores weights on prepared datasets, in the command and within training;
//! [`metrics`] are PSNR and SSIM. No command line here: that is the crate `defusion`.
//!
//! ```no_run
//! use defusion_config::{Arithmetic, Degradation, Severity};
//! use defusion_imaging::image_file::{read_image, write_image};
//! use defusion_restore::export::Exported;
//! use defusion_restore::{Job, Restorer};
//! use tch::Device;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (exported, networks) = Exported::open("defusion.safetensors".as_ref(), Device::Cpu)?;
//! let (tokenizer, unet) = (networks.tokenizer(), networks.unet());
//! let restorer = Restorer::new(tokenizer, unet, &exported.config, Device::Cpu, Arithmetic::Fp32, 4)?;
//! let image = read_image("rainy.png".as_ref())?;
//! let job = Job { image: &image, categories: &[Degradation::Rain], severity: Severity::Any, seed: 0 };
//! write_image("restored.png".as_ref(), &restorer.restore(job)?.image, false)?;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

pub mod evaluate;
pub mod export;
mod memory;
pub mod metrics;
mod networks;
mod restorer;
mod sampling;
mod tensors;

pub use memory::RestoreMemory;
pub use networks::Networks;
pub use restorer::{Job, Restored, Restorer, RestorerError};
pub use sampling::restore_batch;
pub use tensors::{from_tensor, to_tensor};
