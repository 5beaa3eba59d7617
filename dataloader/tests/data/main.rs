//! Whole paths through the crate: files to shards, shards to batches, and what strangers may hand in.

mod fuzzed;
mod hostile;
mod http;
mod loader;
mod mutations;
#[path = "../../../tests/src/object_storage.rs"]
mod object_storage;
mod remote;
mod shards;
