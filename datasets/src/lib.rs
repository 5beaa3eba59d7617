//! One descriptor per dataset (`*.yaml`) and the readers of their published folder layouts.
//!
//! A [`Descriptor`] says what a dataset is and how its degraded pictures find their clean ones; [`scan`] turns one and
//! a folder into [`Pair`]s and [`Problem`]s. Pixels are not read here.

mod catalog;
mod csv_list;
mod descriptor;
mod pairing;
mod problem;
mod scan;
mod scene;
mod template;

pub use catalog::{find, list};
pub use csv_list::scan_csv;
pub use descriptor::{Descriptor, DescriptorError, Fit, Layout, Pairing, Role, Share, Source, Split, Take};
pub use problem::{Problem, ProblemKind};
pub use scan::{Listing, Pair, ScanError, scan};
pub use template::{Template, TemplateError, is_image};
