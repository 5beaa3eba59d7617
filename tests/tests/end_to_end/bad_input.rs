//! Bad input ends with an error that names file and key, a non-zero exit code, and nothing overwritten.

use std::path::Path;

use defusion_tests::{Sandbox, assert_success, binary, defusion, launch, mpirun, transcript, write_images};

fn shards_of(sandbox: &Sandbox) -> Vec<std::path::PathBuf> {
    let mut shards: Vec<_> = std::fs::read_dir(sandbox.path("shards/photos"))
        .expect("shards")
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "parquet"))
        .collect();
    shards.sort();
    shards
}

fn prepare(from: &Path, to: &Path, layout: &str) -> std::process::Output {
    let mut command = defusion();
    command
        .args(["data", "prepare", "--dataset", "photos", "--layout", layout, "--from"])
        .arg(from)
        .arg("--to")
        .arg(to);
    if layout == "pairs" {
        command.args(["--degradations", "rain"]);
    }
    command.output().expect("defusion runs")
}

#[test]
fn an_unknown_key_is_named_with_its_file() {
    let sandbox = Sandbox::new();
    let config = sandbox.path("run.yaml");
    std::fs::write(&config, "name: x\nrun: y\ndata: {shards: z, datasets: [{name: a}], krop: 12}\n").expect("written");
    let output = launch().arg("--dry-run").arg("--config").arg(&config).output().expect("launcher runs");
    let said = transcript(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("run.yaml") && said.contains("krop"), "{said}");
}

#[test]
fn unpaired_files_are_named_and_nothing_is_written() {
    let sandbox = Sandbox::new();
    write_images(&sandbox.path("pairs/input"), 3, 0);
    write_images(&sandbox.path("pairs/target"), 2, 0);
    let output = prepare(&sandbox.path("pairs"), &sandbox.path("shards"), "pairs");
    let said = transcript(&output);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("002.png"), "the unpaired file is not named:\n{said}");
    assert!(!sandbox.path("shards/photos/manifest.json").exists());
}

#[test]
fn a_truncated_image_is_named() {
    let sandbox = Sandbox::new();
    let folder = sandbox.path("images");
    write_images(&folder, 3, 0);
    let victim = folder.join("001.png");
    let bytes = std::fs::read(&victim).expect("read");
    std::fs::write(&victim, &bytes[..bytes.len() / 2]).expect("written");
    let output = prepare(&folder, &sandbox.path("shards"), "folder");
    let said = transcript(&output);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("001.png"), "{said}");
    assert!(!sandbox.path("shards/photos/manifest.json").exists());
}

#[test]
fn a_damaged_shard_is_named() {
    let sandbox = Sandbox::with_shards();
    let victim = shards_of(&sandbox).remove(0);
    let mut bytes = std::fs::read(&victim).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&victim, bytes).expect("written");
    let output =
        defusion().args(["data", "verify"]).arg(sandbox.path("shards/photos")).output().expect("defusion runs");
    let said = transcript(&output);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("part-00000.parquet") && said.contains("sha256"), "{said}");

    let output = mpirun(2).args(sandbox.config_args("run", &[])).output().expect("mpirun runs");
    let said = transcript(&output);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("part-00000.parquet"), "{said}");
}

#[test]
fn a_run_folder_of_another_config_is_refused_and_left_alone() {
    let sandbox = Sandbox::with_shards();
    let sets = ["tokenizer.iterations=2", "diffusion.iterations=2"];
    assert_success(&mpirun(2).args(sandbox.config_args("run", &sets)).output().expect("mpirun runs"));
    let config = std::fs::read(sandbox.path("run/config.yaml")).expect("config of the run");
    let output =
        mpirun(2).args(sandbox.config_args("run", &[sets[0], sets[1], "seed=99"])).output().expect("mpirun runs");
    let said = transcript(&output);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("run") && said.contains("config"), "{said}");
    assert_eq!(config, std::fs::read(sandbox.path("run/config.yaml")).expect("config of the run"));
}

#[test]
fn fewer_ranks_than_workers_are_refused() {
    let sandbox = Sandbox::new();
    let output = mpirun(1).args(sandbox.config_args("run", &[])).output().expect("mpirun runs");
    let said = transcript(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("workers_per_node"), "{said}");
    assert!(!sandbox.path("run").exists());
}

#[test]
fn no_mpirun_on_path_is_said() {
    let sandbox = Sandbox::with_shards();
    let output = std::process::Command::new(binary("defusion-launch"))
        .args(sandbox.config_args("run", &[]))
        .env("PATH", sandbox.path("nothing"))
        .output()
        .expect("launcher runs");
    let said = transcript(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("mpirun"), "{said}");
}
