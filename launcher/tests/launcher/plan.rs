//! What `--dry-run` says of the recipe that ships.

use std::path::Path;
use std::process::{Command, Output};

use defusion_datasets::{ShardEntry, ShardManifest};
use serde_json::Value;

/// The launcher alone: no mpirun to find, no library folder of libtorch's. In a folder with a file where the recipe expects
/// the weights of LPIPS.
fn dry_run(args: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("weights")).unwrap();
    std::fs::write(folder.path().join("weights/lpips-vgg16.safetensors"), "").unwrap();
    dry_run_in(folder.path(), args)
}

fn dry_run_in(folder: &Path, args: &[&str]) -> Output {
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/a100x8.yaml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_defusion-launch"));
    command.arg("--config").arg(recipe).arg("--dry-run").args(args);
    command.current_dir(folder);
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

#[test]
fn missing_weights_of_lpips_are_an_error_that_names_the_script() {
    let empty = tempfile::tempdir().unwrap();
    let output = dry_run_in(empty.path(), &[]);
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("weights/lpips-vgg16.safetensors") && error.contains("scripts/lpips-weights"), "{error}");
    for without in ["tokenizer.perceptual_weight=0", "tokenizer={iterations: 0, pretrained: s3://bucket/tokenizer}"] {
        assert!(dry_run_in(empty.path(), &["--set", without]).status.success(), "{without}");
    }
}

#[test]
fn a_batch_smaller_than_the_world_is_shared_by_as_many_workers_as_it_has_samples() {
    let two_nodes = ["--set", "cluster.nodes=2"];
    let plan = json(&two_nodes);
    let share = |stage: usize| ["busy_workers", "worker_batch"].map(|key| plan["stages"][stage][key].as_u64().unwrap());
    assert_eq!((share(0), share(1)), ([8, 1], [16, 2]));
    assert_eq!(plan["problems"], Value::Array(vec![]));
    let text = String::from_utf8(dry_run(&two_nodes).stdout).unwrap();
    let row = |name: &str| text.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_default().to_owned();
    assert!(row("workers with a share").ends_with("8 of 16        16 of 16"), "{text}");
    assert!(row("batch per GPU").ends_with("0 or 1               2"), "{text}");
    assert!(!String::from_utf8(dry_run(&[]).stdout).unwrap().contains("workers with a share"));
}

#[test]
fn an_average_that_keeps_the_initial_weights_is_warned_of() {
    let warnings = |sets: &[&str]| {
        let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
        json(&sets)["warnings"].to_string()
    };
    // 0.9999^2000 = 0.82.
    let short = warnings(&["diffusion.iterations=2000"]);
    assert!(short.contains("diffusion.ema_decay: 0.9999 over 2000 iterations leaves 82%"), "{short}");
    assert!(short.contains("0.997 leaves less than 1%") && !short.contains("tokenizer.ema_decay"), "{short}");
    for fine in [&["diffusion.iterations=2000", "diffusion.ema_decay=0.997"][..], &["diffusion.iterations=30000"], &[]]
    {
        assert!(!warnings(fine).contains("ema_decay"), "{fine:?}");
    }
    let few = warnings(&["tokenizer.iterations=3"]);
    assert!(few.contains("tokenizer.ema_decay") && few.contains("; 0 leaves"), "{few}");
}
