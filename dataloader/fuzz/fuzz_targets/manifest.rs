#![no_main]
//! Any bytes as a manifest.

#[allow(dead_code)] // It holds what the other target does, too.
#[path = "../../loader/tests/dataloader/fuzzed.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzed::manifest(bytes));
