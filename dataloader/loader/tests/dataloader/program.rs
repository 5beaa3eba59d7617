//! `defusion-data` as its users call it, in an environment that knows no libtorch.

use std::path::Path;
use std::process::{Command, Output};

use crate::shards::save;

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_defusion-data"));
    command.env_remove("LD_LIBRARY_PATH").env_remove("LIBTORCH").env_remove("RUST_LOG");
    command.args(arguments).output().expect("the program runs")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

#[test]
fn no_library_of_torch_is_linked() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_defusion-data")).unwrap();
    for name in [&b"libtorch"[..], b"libc10", b"libmpi.", b"libnccl"] {
        assert!(!program.windows(name.len()).any(|bytes| bytes == name), "{}", String::from_utf8_lossy(name));
    }
}

#[test]
fn datasets_are_listed_prepared_verified_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let (images, shards) = (dir.path().join("images"), dir.path().join("shards"));
    for i in 0..3 {
        save(&images.join(format!("{i}.png")), i, 64, 48);
    }
    let known = run(&["list"]);
    assert!(known.status.success() && said(&known).contains("rain1400"), "{}", said(&known));
    let prepare = ["prepare", "--dataset", "set", "--layout", "folder", "--from", text(&images), "--to", text(&shards)];
    let prepared = run(&prepare);
    assert!(prepared.status.success(), "{}", said(&prepared));
    assert!(said(&prepared).contains("packed 3/3") && said(&prepared).contains("train: 3 pairs, 1 shard"));
    let listed = run(&["list", "--shards", text(&shards)]);
    assert!(said(&listed).contains("set: 3 train pairs, 1 shard"), "{}", said(&listed));
    let again = run(&prepare);
    assert_eq!(again.status.code(), Some(2), "{}", said(&again));
    assert!(said(&again).starts_with("defusion-data: ") && said(&again).contains("--overwrite"), "{}", said(&again));

    let set = shards.join("set");
    let verified = run(&["verify", text(&set)]);
    assert!(verified.status.success() && said(&verified).contains("1 shards with 3 pairs"), "{}", said(&verified));
    let shard = set.join("part-00000.parquet");
    let mut bytes = std::fs::read(&shard).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    let damaged = run(&["verify", text(&set)]);
    assert_eq!(damaged.status.code(), Some(2));
    assert!(said(&damaged).contains("sha256") && said(&damaged).contains("1 shards are damaged"), "{}", said(&damaged));

    let (config, page) = (dir.path().join("t.yaml"), dir.path().join("page.png"));
    std::fs::write(
        &config,
        "{name: t, run: r, tokenizer: {perceptual_weight: 0}, data: {shards: s, datasets: [{name: set, synthesize: [[rain]]}]}}",
    )
    .unwrap();
    let image = images.join("0.png");
    let preview =
        ["preview", "--config", text(&config), "--image", text(&image), "--out", text(&page), "--categories", "rain"];
    let shown = run(&preview);
    assert!(shown.status.success(), "{}", said(&shown));
    assert!(page.exists() && dir.path().join("page-grounds.png").exists());
    let lost = run(&["preview", "--config", text(&config), "--image", "nowhere.png", "--out", text(&page)]);
    assert_eq!(lost.status.code(), Some(2));
    assert!(said(&lost).contains("nowhere.png"), "{}", said(&lost));
}

#[test]
fn a_truncated_jpeg_is_named_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (images, shards) = (dir.path().join("images"), dir.path().join("shards"));
    save(&images.join("whole.png"), 1, 64, 48);
    let whole = defusion_imaging::read_image(&images.join("whole.png")).unwrap();
    let jpeg = defusion_imaging::encode_image(&whole, defusion_imaging::ImageEncoding::Jpeg).unwrap();
    std::fs::write(images.join("half.jpg"), &jpeg[..jpeg.len() / 2]).unwrap();
    let from = ["prepare", "--dataset", "set", "--layout", "folder", "--from", text(&images), "--to", text(&shards)];
    let refused = run(&from);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("half.jpg: cannot be decoded: the file is truncated"), "{}", said(&refused));
    assert!(!shards.join("set/part-00000.parquet").exists());
    let left_out = run(&[&from[..], &["--leave-out-problems"]].concat());
    assert!(left_out.status.success() && said(&left_out).contains("train: 1 pairs"), "{}", said(&left_out));
}
