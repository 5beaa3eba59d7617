//! The commands of `defusion`, one file each: arguments, and what is done with the libraries' help.
//!
//! The program itself is `main.rs`. `defusion-launch` starts `defusion worker` on every rank; `defusion data` becomes
//! `defusion-data`.
//!
//! ```no_run
//! use clap::Parser;
//! use defusion::restore::{RestoreArgs, run_restore};
//!
//! #[derive(Parser)]
//! struct Cli {
//!     #[command(flatten)]
//!     restore: RestoreArgs,
//! }
//!
//! let words = ["restore", "--weights", "defusion.safetensors", "--degradation", "rain", "in.png", "--out", "out.png"];
//! run_restore(&Cli::parse_from(words).restore)?;
//! # Ok::<(), defusion::restore::RestoreError>(())
//! ```
#![forbid(unsafe_code)]

pub mod data;
pub mod device;
pub mod evaluate;
pub mod export;
pub mod restore;
mod stdout;
pub mod worker;
