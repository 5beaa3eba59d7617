//! Run folders and checkpoints. One binary, as each links libtorch.

mod changes;
mod faults;
mod format;
mod run_folder;
mod support;
