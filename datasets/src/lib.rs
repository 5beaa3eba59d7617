//! One descriptor per dataset (`datasets/*.yaml`), the readers of their published folder layouts, and the manifest of a
//! dataset that has been prepared.
//!
//! A [`Descriptor`] says what a dataset is and how its degraded images find their clean ones; [`scan`] turns one and a folder
//! into [`Pair`]s and [`Problem`]s. Pixels are not read here: the data loader does, and packs the pairs into shards. The
//! [`ShardManifest`] that it writes beside them stands here, because the launcher counts rows by it too.
//!
//! Stands on `defusion-config` alone; the data loader and the launcher stand on it.
//!
//! ```
//! let folder = tempfile::tempdir()?;
//! for side in ["hazy", "GT"] {
//!     std::fs::create_dir(folder.path().join(side))?;
//!     std::fs::write(folder.path().join(format!("{side}/01_{side}.png")), "")?;
//! }
//! let listing = defusion_datasets::scan(&defusion_datasets::find("dense_haze")?, folder.path())?;
//! assert_eq!(listing.pairs[0].key, "hazy/01_hazy.png");
//! assert!(listing.pairs[0].gt.ends_with("GT/01_GT.png"));
//! println!("{}", listing.problems[0]); // train: whole split: 1 pairs, but 49 are published
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod catalog;
mod csv_list;
mod descriptor;
mod listing;
mod pairing;
mod passed_over;
mod problem;
mod scan;
mod scene;
pub mod shard_manifest;
mod template;

pub use catalog::{find, list};
pub use csv_list::scan_csv;
pub use descriptor::{Descriptor, DescriptorError, Fit, Layout, Pairing, Role, Share, Source, Split, Take};
pub use listing::{Listing, Pair};
pub use passed_over::PassedOver;
pub use problem::{Problem, ProblemKind};
pub use scan::{ScanError, scan};
pub use shard_manifest::{ShardEntry, ShardManifest, ShardManifestError};
pub use template::{Template, TemplateError, is_image};
