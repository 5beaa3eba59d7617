//! What the end-to-end tests share: a sandbox folder, images to train on, and the built binaries.
//!
//! The tests beside this crate drive `defusion` and `defusion-launch` as a user would, in processes of their own.

pub mod processes;
pub mod web;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

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
    /// If the temporary folder cannot be made.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// A sandbox whose shards hold `photos` and `photos-test`, which `configs/tiny-test.yaml` reads.
    ///
    /// # Panics
    /// If preparing them fails.
    pub fn with_shards() -> Self {
        let sandbox = Self::new();
        for (name, count, phase) in [("photos", 12, 0), ("photos-test", 3, 100)] {
            let folder = sandbox.path(&format!("images/{name}"));
            write_images(&folder, count, phase);
            let output = defusion_data()
                .args(["prepare", "--dataset", name, "--layout", "folder", "--from"])
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

/// One of the built programs. The first call builds them, so that this crate's tests need nothing to be built before.
///
/// # Panics
/// If cargo cannot build them.
pub fn binary(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(build_programs).join(name)
}

/// Builds as scripts/setup does, which takes no time if nothing has changed. Returns the folder of the programs.
fn build_programs() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    // target/PROFILE/deps/TEST
    let target = test.ancestors().nth(3).expect("the target folder").to_owned();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--release", "--locked", "--bins", "--target-dir"])
        .arg(&target)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stdin(Stdio::null())
        .output()
        .expect("cargo runs");
    assert_success(&built);
    target.join("release")
}

/// The `defusion` command.
pub fn defusion() -> Command {
    let mut command = Command::new(binary("defusion"));
    command.stdin(Stdio::null());
    command
}

/// The `defusion-data` command, which links no libtorch.
pub fn defusion_data() -> Command {
    let mut command = Command::new(binary("defusion-data"));
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

/// Fails the test with the process's own words if it did not end with 0.
///
/// # Panics
/// If it did not.
pub fn assert_success(output: &Output) {
    assert!(output.status.success(), "ended with {}:\n{}", output.status, transcript(output));
}

/// All that a process printed.
pub fn transcript(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Writes `count` smooth, textured images of 96x80 pixels, all different.
///
/// # Panics
/// If they cannot be written.
pub fn write_images(folder: &Path, count: u32, phase: u32) {
    std::fs::create_dir_all(folder).expect("folder of images");
    for k in phase..phase + count {
        let image = RgbImage::from_fn(96, 80, |x, y| {
            let (x, y, k) = (f64::from(x), f64::from(y), f64::from(k) + 1.0);
            let wave =
                |f: f64, g: f64| (127.0 + 80.0 * (x * f / k + k).sin() + 48.0 * (y * g + x * 0.11 * k).cos()) as u8;
            Rgb([wave(0.9, 0.21), wave(0.5, 0.33), wave(0.3, 0.17)])
        });
        image.save(folder.join(format!("{k:03}.png"))).expect("image written");
    }
}

/// The files of a checkpoint, such as `2-diffusion-000000008`, whichever attempt wrote it: name -> sha256, from its manifest.
///
/// # Panics
/// If there is none, or its manifest cannot be read.
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
