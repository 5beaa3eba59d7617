#![no_main]
//! Any bytes as a shard of two images.

#[allow(dead_code)] // It holds what the other target does, too.
#[path = "../../loader/tests/dataloader/fuzzed.rs"]
mod fuzzed;

use std::sync::LazyLock;

static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a temporary folder"));

libfuzzer_sys::fuzz_target!(
    init: {
        // Panics of the Parquet reader are caught and become errors; libFuzzer's hook would abort before that. What is
        // not caught still aborts.
        std::panic::set_hook(Box::new(|_| ()));
    },
    |bytes: &[u8]| {
        let _ = fuzzed::shard(FOLDER.path(), bytes, 2);
    }
);
