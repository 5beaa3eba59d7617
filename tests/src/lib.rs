//! What the end-to-end tests share: a sandbox folder, pictures to train on, and the built binaries.
//!
//! The tests beside this crate drive `defusion` and `defusion-launch` as a user would, in processes of their own.

pub mod object_storage;
pub mod processes;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use image::{Rgb, RgbImage};

/// A temporary folder with photographs, shards and run folders of one test; removed at its end.
pub struct Sandbox {
    folder: tempfile::TempDir,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Sandbox {
    /// An empty sandbox.
    ///
    /// # Panics
    /// Where the temporary folder cannot be made.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// A sandbox whose shards hold `photos` and `photos-test`, which `configs/tiny-test.yaml` reads.
    ///
    /// # Panics
    /// Where preparing them fails.
    pub fn with_shards() -> Self {
        let sandbox = Self::new();
        for (name, count, phase) in [("photos", 12, 0), ("photos-test", 3, 100)] {
            let folder = sandbox.path(&format!("pictures/{name}"));
            write_pictures(&folder, count, phase);
            let output = defusion()
                .args(["data", "prepare", "--dataset", name, "--layout", "folder", "--from"])
                .arg(&folder)
                .arg("--to")
                .arg(sandbox.path("shards"))
                .output()
                .expect("defusion runs");
            assert_success(&output);
        }
        sandbox
    }

    /// A path within the sandbox.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `--config configs/tiny-test.yaml` with this sandbox's shards and the run folder `run`, and further `--set`s.
    pub fn config_args(&self, run: &str, sets: &[&str]) -> Vec<String> {
        let mut args = vec!["--config".to_owned(), recipe("tiny-test.yaml").display().to_string()];
        let own =
            [format!("run={}", self.path(run).display()), format!("data.shards={}", self.path("shards").display())];
        for set in own.into_iter().chain(sets.iter().map(|s| (*s).to_owned())) {
            args.push("--set".into());
            args.push(set);
        }
        args
    }
}

/// A recipe of the repository's `configs` folder.
pub fn recipe(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs").join(name)
}

/// A binary built beside this test.
///
/// # Panics
/// Where it was not built: run `scripts/test`, or `cargo test --workspace`.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let path = test.ancestors().nth(2).expect("target/release").join(name);
    assert!(path.exists(), "{} is missing: build the workspace first (cargo test --workspace)", path.display());
    path
}

/// The `defusion` command.
pub fn defusion() -> Command {
    let mut command = Command::new(binary("defusion"));
    command.stdin(Stdio::null());
    command
}

/// `mpirun -n RANKS defusion-launch`.
pub fn mpirun(ranks: u32) -> Command {
    let mut command = Command::new("mpirun");
    command
        .args(["-n", &ranks.to_string(), "--oversubscribe"])
        .arg(binary("defusion-launch"))
        .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
        .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
        .stdin(Stdio::null());
    command
}

/// `defusion-launch` outside MPI, which starts `mpirun` by itself.
pub fn launch() -> Command {
    let mut command = Command::new(binary("defusion-launch"));
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1").stdin(Stdio::null());
    command
}

/// Fails the test with the process's own words where it did not end with 0.
///
/// # Panics
/// As said.
pub fn assert_success(output: &Output) {
    assert!(output.status.success(), "ended with {}:\n{}", output.status, transcript(output));
}

/// All that a process printed.
pub fn transcript(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Writes `count` smooth, textured pictures of 96x80 pixels, all different.
///
/// # Panics
/// Where they cannot be written.
pub fn write_pictures(folder: &Path, count: u32, phase: u32) {
    std::fs::create_dir_all(folder).expect("folder of pictures");
    for k in phase..phase + count {
        let picture = RgbImage::from_fn(96, 80, |x, y| {
            let (x, y, k) = (f64::from(x), f64::from(y), f64::from(k) + 1.0);
            let wave =
                |f: f64, g: f64| (127.0 + 80.0 * (x * f / k + k).sin() + 48.0 * (y * g + x * 0.11 * k).cos()) as u8;
            Rgb([wave(0.9, 0.21), wave(0.5, 0.33), wave(0.3, 0.17)])
        });
        picture.save(folder.join(format!("{k:03}.png"))).expect("picture written");
    }
}

/// The files of a checkpoint, such as `2-diffusion-000000008`, whichever attempt wrote it: name -> sha256, from its manifest.
///
/// # Panics
/// Where there is none, or its manifest cannot be read.
pub fn checkpoint_digests(run: &Path, checkpoint: &str) -> BTreeMap<String, String> {
    let folder = std::fs::read_dir(run.join("checkpoints"))
        .expect("checkpoints")
        .filter_map(|e| Some(e.ok()?.path()))
        .find(|p| {
            p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(checkpoint))
                && p.join("manifest.json").exists()
        })
        .unwrap_or_else(|| panic!("{} has no checkpoint {checkpoint}", run.display()));
    let text = std::fs::read_to_string(folder.join("manifest.json")).expect("manifest");
    let value: serde_json::Value = serde_json::from_str(&text).expect("manifest is JSON");
    value["files"]
        .as_array()
        .expect("files")
        .iter()
        .map(|f| {
            let text = |key: &str| f[key].as_str().unwrap_or_else(|| panic!("{key} in {f}")).to_owned();
            (text("name"), text("sha256"))
        })
        .collect()
}
