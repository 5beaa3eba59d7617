//! Samples for training: shards of image pairs, the sampling plan, visual grounds, degradations, instructions, batches.
//! No libtorch here: a [`Batch`](loader::Batch) is plain memory.

pub mod degrade;
pub mod ground;
pub mod instruction;
pub mod picture;
pub mod preview;
pub mod rng;

pub use picture::Picture;
pub use rng::Rng;
