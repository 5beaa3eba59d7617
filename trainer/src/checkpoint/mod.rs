//! Checkpoints in a run folder under any object_store URL.
//!
//! ```text
//! config.yaml                              the resolved config, written once
//! attempts/0001.json                       one record per start of the job; the highest number owns the folder
//! checkpoints/2-diffusion-000012000-a0001/ stage, completed steps, attempt that wrote it
//!     model-1of2.safetensors ...           share 1 of 2 of a group's tensors, uploaded by rank 0
//!     part-1of2.json ...                   written by each rank after its files: names, sizes, sha256
//!     manifest.json                        written last, by rank 0, once every part is there and every size agrees
//! latest.json                              name of the newest checkpoint, moved after its manifest
//! ```
//!
//! Invariants:
//! - A folder without `manifest.json` is no checkpoint. Nobody writes into a folder that has one.
//! - Folder names carry the attempt, so what a killed or outlived job left behind never mixes with a later job's files.
//! - Every byte is read back and compared by sha256 after its upload, and again when loaded.
//! - No communicator is used in the background: ranks meet through the part files.
//! - Tensors are stored exactly (safetensors); nothing in a checkpoint is ever executed.

mod attempt;
mod error;
mod folder;
mod host;
mod manifest;
mod names;
mod reader;
mod retention;
mod retry;
mod save;
mod state;
mod store;
mod writer;

pub use attempt::Attempt;
pub use error::CheckpointError;
pub use folder::RunFolder;
pub use manifest::{FileEntry, Manifest};
pub use names::CheckpointId;
pub use reader::Found;
pub use retry::{Retry, StoreError, StoreErrorKind};
pub use state::Snapshot;
pub use store::Store;
pub use writer::{Checkpointer, Options};
