//! One [`Store`] for shards and checkpoints: a folder on local disk, S3, Google Cloud Storage, Azure, a web server, or in
//! memory, for code that is not async.
//!
//! What every store gives, whatever lies under it:
//! - An object is never seen in part, and on local disk it outlasts a power cut: file and folder are synced before a
//!   write returns.
//! - What may pass (network, server, rights that are being renewed) is tried again, as [`Retry`] says.
//! - Large objects go up and come down in parts, several at once, so that a request stays within the client's time limit.
//! - Of several that create one object, exactly one wins ([`Store::put_new`]).
//! - Errors name URL, action and cause, and never hold credentials, which come from the environment alone: variables,
//!   roles, an AWS profile.
//!
//! All requests run on one tokio runtime, which belongs to the process and starts with the first of them. Every method
//! blocks and may be called from any thread, those of a tokio runtime included.
//!
//! Shards (`defusion-dataloader`) and checkpoints (`defusion-checkpoint`) stand on this crate; it stands on none of ours.
//! With the feature `testing` it holds an S3 server and a store that fails on purpose, for tests.
//!
//! ```
//! use defusion_storage::{Store, StoreError};
//!
//! # fn main() -> Result<(), StoreError> {
//! let run = Store::create("memory://example/run")?;
//! run.put_new("config.yaml", "steps: 10".into())?;
//! assert!(matches!(run.put_new("config.yaml", "steps: 20".into()), Err(StoreError::AlreadyExists { .. })));
//! assert_eq!(run.get("config.yaml", 1 << 20)?, "steps: 10");
//! assert!(matches!(run.get("latest.json", 9), Err(StoreError::NotFound { .. })));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod advice;
mod aws_profile;
mod conditional;
mod delete;
mod digest;
mod error;
mod listing;
mod local;
mod location;
mod path;
mod pieces;
mod read;
mod redact;
mod remote;
mod retry;
mod runtime;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod upload;
mod whole;

pub use conditional::Version;
pub use digest::{Digester, sha256_hex};
pub use error::StoreError;
pub use location::{Location, LocationError, join};
pub use pieces::Pieces;
pub use redact::{describe, redact};
pub use retry::Retry;
pub use store::Store;
