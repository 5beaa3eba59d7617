//! Samples for training: shards of image pairs, the sampling plan, visual grounds, degradations, instructions, batches.
//! No libtorch here: a [`Batch`](loader::Batch) is plain memory.

pub mod cache;
pub mod degrade;
pub mod ground;
pub mod instruction;
pub mod loader;
pub mod location;
mod ordered;
pub mod picture;
pub mod pixels;
pub mod plan;
pub mod prepare;
pub mod preview;
pub mod rng;
pub mod shard;
pub mod store;
pub mod verify;

pub use picture::Picture;
pub use rng::Rng;
