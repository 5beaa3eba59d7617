//! Whole paths through the crate: files to shards, shards to batches and galleries, and what strangers may hand in.

mod fuzzed;
mod hostile;
mod http;
mod loader;
mod mutations;
mod partial_targets;
mod preview;
mod program;
mod remote;
mod shards;
