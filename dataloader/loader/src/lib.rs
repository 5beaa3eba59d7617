//! Samples for training: shards of image pairs, the sampling plan, batches. Its program `defusion-data` lists, prepares,
//! verifies and previews datasets.
//!
//! No libtorch here: a [`Batch`](loader::Batch) is plain memory, float32 in [-1, 1], that the trainer copies to its device.
//! The crate stands on `defusion-imaging` (pixels, degradations, grounds), `defusion-storage` (any object store) and
//! `defusion-datasets` (folder layouts, the shard manifest); the trainer stands on it.
//!
//! | module | |
//! |---|---|
//! | [`prepare`] | image files to shards, once per dataset |
//! | [`verify`] | every byte of prepared shards against the manifest |
//! | [`shard`] | the file format; reading any crop of any image |
//! | [`cache`] | remote shards on this machine's disk |
//! | [`plan`] | which image, crop, chain and instruction sample `i` shows: a pure function of (seed, stage, i) |
//! | [`loader`] | batches of a rank, made ahead of need by threads |
//! | [`preview`] | galleries to look at |
//!
//! ```
//! use defusion_config::RemoteCache;
//! use defusion_dataloader::prepare::{PrepareOptions, list_source, prepare};
//! use defusion_dataloader::shard::DatasetReader;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let (images, shards) = (folder.path().join("images"), folder.path().join("shards").display().to_string());
//! std::fs::create_dir(&images)?;
//! let image = defusion_imaging::Image::filled(80, 60, 0.5);
//! defusion_imaging::write_image(&images.join("grey.png"), &image, false)?;
//!
//! let listing = list_source(&defusion_datasets::find("folder")?, &images, None, &[])?;
//! let report = prepare(listing, &PrepareOptions::new("photos", &shards), &|_progress| ())?;
//! assert_eq!(report.splits["train"].rows, 1);
//!
//! let reader = DatasetReader::open(&format!("{shards}/photos"), &RemoteCache::default())?;
//! let pair = reader.crop(0, 8, 4, 64, 32)?;
//! assert_eq!((pair.hq.width(), pair.hq.height()), (64, 32));
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

pub mod cache;
pub mod fingerprint;
pub mod loader;
mod ordered;
pub mod plan;
pub mod prepare;
pub mod preview;
pub mod shard;
pub mod verify;
