//! Whole paths through the crate: files to shards, shards to batches, and what strangers may hand in.

mod hostile;
mod loader;
mod shards;
