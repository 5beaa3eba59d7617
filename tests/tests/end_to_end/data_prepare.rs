//! `defusion data prepare` as its users call it.

use std::path::Path;
use std::process::Output;

use defusion_tests::{Sandbox, assert_success, defusion, transcript, write_images};

fn prepare(from: &Path, to: &Path, options: &[&str]) -> Output {
    let mut command = defusion();
    command.args(["data", "prepare", "--dataset", "photos", "--layout", "folder", "--from"]).arg(from);
    command.arg("--to").arg(to).args(options).output().expect("defusion runs")
}

#[test]
fn tiles_are_packed_as_asked() {
    let sandbox = Sandbox::new();
    let images = sandbox.path("images");
    write_images(&images, 3, 0);
    let bytes = |name: &str, options: &[&str]| {
        let to = sandbox.path(name);
        assert_success(&prepare(&images, &to, options));
        let verify = defusion().args(["data", "verify"]).arg(to.join("photos")).output().expect("defusion runs");
        assert_success(&verify);
        to.join("photos/part-00000.parquet").metadata().expect("a shard").len()
    };
    let [zstd, lz4, raw] = ["zstd", "lz4", "raw"].map(|codec| bytes(codec, &["--codec", codec]));
    assert_eq!(bytes("usual", &[]), zstd);
    assert!(zstd < lz4 && lz4 < raw, "{zstd} {lz4} {raw}");
    // 3 images of 96x80 pixels with 3 samples each, and then the file's own columns and metadata.
    assert!((69_120..90_000).contains(&raw), "{raw}");
    assert!(bytes("large", &["--codec", "raw", "--tile", "128"]) < raw, "fewer tiles need a shorter index");
}

#[test]
fn options_that_cannot_work_are_named() {
    let sandbox = Sandbox::new();
    write_images(&sandbox.path("images"), 1, 0);
    for (options, words) in [(["--codec", "gif"], "raw, lz4, zstd"), (["--tile", "7"], "not between 8 and 1024")] {
        let output = prepare(&sandbox.path("images"), &sandbox.path("shards"), &options);
        let said = transcript(&output);
        assert!(!output.status.success() && said.contains(words), "{said}");
        assert!(!sandbox.path("shards").exists());
    }
}
