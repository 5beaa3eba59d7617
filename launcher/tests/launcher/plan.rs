//! What `--dry-run` says of the recipe that ships.

use std::path::Path;
use std::process::{Command, Output};

use defusion_datasets::{ShardEntry, ShardManifest};
use serde_json::Value;

/// The launcher alone: no mpirun to find, no library folder of libtorch's.
fn dry_run(args: &[&str]) -> Output {
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/a100x8.yaml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_defusion-launch"));
    command.arg("--config").arg(recipe).arg("--dry-run").args(args);
    command.env_remove("LD_LIBRARY_PATH").env_remove("LIBTORCH").env("PATH", "/nowhere").output().unwrap()
}

fn json(args: &[&str]) -> Value {
    let output = dry_run(&[&["--json"], args].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_recipe_is_the_papers() {
    let plan = json(&[]);
    assert_eq!(plan["workers"]["world_size"], 8);
    assert_eq!(plan["workers"]["devices"][7], "cuda:7");
    assert_eq!(plan["parameters"]["unet"], 552_814_086u64);
    let [tokenizer, diffusion] = [&plan["stages"][0], &plan["stages"][1]];
    assert_eq!((&tokenizer["stage"], &tokenizer["global_batch"]), (&"tokenizer".into(), &8.into()));
    assert_eq!((&diffusion["stage"], &diffusion["steps"]), (&"diffusion".into(), &600_000.into()));
    assert_eq!((&diffusion["global_batch"], &diffusion["worker_batch"]), (&32.into(), &4.into()));
    assert_eq!(diffusion["epochs"], 100.0);
    let sets = plan["samples"]["datasets"].as_array().unwrap();
    assert_eq!(sets.len(), 14);
    let sum: f64 = sets.iter().map(|set| set["per_thousand"].as_f64().unwrap()).sum();
    assert!((sum - 1000.0).abs() < 1e-9);
    assert!(sets.iter().all(|set| set["name"] != "lhp"), "LHP is a test set");
    assert_eq!(plan["problems"], Value::Array(vec![]));
}

#[test]
fn the_parts_of_memory_are_its_sum() {
    for stage in json(&[])["stages"].as_array().unwrap() {
        let parts: u64 = stage["memory"].as_object().unwrap().values().map(|part| part.as_u64().unwrap()).sum();
        assert_eq!(stage["memory_bytes"], parts);
    }
}

#[test]
fn the_text_says_the_same_as_the_json() {
    let text = String::from_utf8(dry_run(&[]).stdout).unwrap();
    for part in
        ["552,814,086", "8 = 1 node x 8, on cuda:0 to cuda:7", "600,000", "19,200,000", "outdoor_rain", "remote"]
    {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[test]
fn a_gpu_too_small_is_an_error_that_says_what_to_change() {
    let output = dry_run(&["--set", "cluster.device_memory_gib=24"]);
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr);
    for part in
        ["a100x8.yaml", "stage diffusion needs about", "has 24.0 GiB", "diffusion.step.activation_checkpointing=block"]
    {
        assert!(error.contains(part), "no {part:?} in\n{error}");
    }
    let changes = ["cluster.device_memory_gib=24", "diffusion.step.activation_checkpointing=block"];
    assert!(dry_run(&["--set", changes[0], "--set", changes[1]]).status.success(), "what it advises helps");
}

#[test]
fn prepared_datasets_are_counted_from_their_manifests() {
    let shards = tempfile::tempdir().unwrap();
    let folder = shards.path().join("gopro");
    std::fs::create_dir(&folder).unwrap();
    let shard = |file: &str, split: &str, rows| ShardEntry {
        file: file.into(),
        split: split.into(),
        rows,
        bytes: 1 << 30,
        sha256: "0".repeat(64),
    };
    let manifest = ShardManifest::new(
        "gopro",
        vec![shard("a", "train", 2000), shard("b", "train", 103), shard("c", "test", 1111)],
    );
    std::fs::write(folder.join("manifest.json"), manifest.to_json()).unwrap();
    let plan = json(&["--set", &format!("data.shards={}", shards.path().display())]);
    let of = |name: &str| {
        let sets = plan["samples"]["datasets"].as_array().unwrap();
        sets.iter().find(|set| set["name"] == name).unwrap().clone()
    };
    assert_eq!(of("gopro")["images"], 2103);
    let epochs = 19_200_000.0 / 13.0 / 2103.0;
    assert!((of("gopro")["epochs"].as_f64().unwrap() - epochs).abs() < 0.01);
    assert_eq!((&of("sidd")["prepared"], &of("sidd")["images"]), (&false.into(), &Value::Null));
    let warnings = plan["warnings"].to_string();
    assert!(
        warnings.contains("not prepared") && warnings.contains("sidd") && !warnings.contains("gopro"),
        "{warnings}"
    );
}

#[test]
fn a_damaged_manifest_is_named() {
    let shards = tempfile::tempdir().unwrap();
    std::fs::create_dir(shards.path().join("gopro")).unwrap();
    let manifest = String::from_utf8(ShardManifest::new("gopro", vec![]).to_json()).unwrap();
    std::fs::write(shards.path().join("gopro/manifest.json"), manifest.replace("\"version\": 1", "\"version\": 7"))
        .unwrap();
    let plan = json(&["--set", &format!("data.shards={}", shards.path().display())]);
    let warnings = plan["warnings"].to_string();
    assert!(warnings.contains("gopro/manifest.json: has version 7; this program reads version 1"), "{warnings}");
    let sets = plan["samples"]["datasets"].as_array().unwrap();
    assert_eq!(sets.iter().find(|set| set["name"] == "gopro").unwrap()["prepared"], false);
}

#[test]
fn overrides_and_errors_are_those_of_the_config() {
    assert_eq!(json(&["--set", "diffusion.iterations=10"])["stages"][1]["steps"], 10);
    let output = dry_run(&["--set", "diffusion.iteration=10"]);
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("diffusion.iteration") && output.stdout.is_empty(), "{error}");
}
