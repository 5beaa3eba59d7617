//! Checkpoints in a run folder under any URL of `defusion-storage`.
//!
//! ```text
//! config.yaml                              the resolved config, written once
//! datasets.json                            digests of the datasets trained on
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
//!
//! A [`RunFolder`] answers for all that lies in the folder; a [`Checkpointer`] saves [`Snapshot`]s into it while training
//! goes on. The training loop and the export of weights stand on this crate; it stands on `defusion-storage` for its files
//! and on `defusion-torch` for the bytes of tensors.
//!
//! ```no_run
//! use defusion_checkpoint::{CheckpointError, CheckpointOptions, Checkpointer, RunFolder, Snapshot};
//! use defusion_config::{Resolved, Stage};
//!
//! # fn save(config: &Resolved, weights: tch::nn::VarStore) -> Result<(), CheckpointError> {
//! let folder = RunFolder::open(&config.config.run)?;
//! let attempt = folder.claim(&folder.enter(config)?)?;
//! if let Some((found, snapshot)) = folder.load_latest()? {
//!     println!("resuming from {}", found.id);
//!     snapshot.copy_into("model", weights.variables())?;
//! }
//! let options = CheckpointOptions::from(&config.config.checkpoints);
//! let mut checkpointer = Checkpointer::new(folder, attempt, 0, 1, options);
//! let mut snapshot = Snapshot::new(Stage::Diffusion, 1000);
//! snapshot.insert("model", weights.variables());
//! checkpointer.save(&snapshot)?; // goes on in the background
//! checkpointer.wait()?;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod attempt;
mod changes;
mod datasets;
mod error;
mod folder;
mod manifest;
mod names;
mod options;
mod pool;
mod reader;
mod retention;
mod save;
mod share;
mod state;
mod stored;
mod writer;

pub use attempt::Attempt;
pub use datasets::DatasetRecord;
pub use error::CheckpointError;
pub use folder::RunFolder;
pub use manifest::{FileEntry, GroupEntry, Manifest};
pub use names::{CheckpointId, NameError};
pub use options::CheckpointOptions;
pub use reader::Found;
pub use state::Snapshot;
pub use writer::Checkpointer;
