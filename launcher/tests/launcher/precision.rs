//! What `--dry-run` says of `precision: auto`, on machines that are made to look like others.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const OLD_CPU: [(&str, &str); 1] = [("ONEDNN_MAX_CPU_ISA", "AVX2")];

/// The plan of a recipe in text and JSON.
fn plan(recipe: &str, sets: &[&str], env: &[(&str, &str)]) -> (String, Value) {
    let run = |json: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_defusion-launch"));
        command
            .arg("--config")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs").join(recipe))
            .arg("--dry-run");
        command.args(json).args(sets.iter().flat_map(|set| ["--set", set]));
        command.env("PATH", "/nowhere").env_remove("ONEDNN_MAX_CPU_ISA").env_remove("CUDA_VISIBLE_DEVICES");
        let output = command.envs(env.iter().copied()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    (run(&[]), serde_json::from_str(&run(&["--json"])).unwrap())
}

#[test]
fn a_cpu_without_bfloat16_gets_float32_and_the_plan_says_why() {
    let (text, json) = plan("cpu-demo.yaml", &["run=/nowhere/run"], &OLD_CPU);
    assert!(text.contains("  precision float32 (auto: this CPU has no native bfloat16"), "{text}");
    for stage in json["stages"].as_array().unwrap() {
        assert_eq!(stage["precision"], "fp32");
        assert!(stage["precision_why"].as_str().unwrap().contains("this CPU has no native bfloat16"), "{stage}");
        assert_eq!(stage["memory"]["casts"], 0);
    }
    assert!(!json["warnings"].to_string().contains("bfloat16"));
    let (_, named) = plan("cpu-demo.yaml", &["tokenizer.step.precision=fp32", "diffusion.step.precision=fp32"], &[]);
    assert_eq!(json["digest"], named["digest"], "the digest is that of what is recorded");
}

#[test]
fn bfloat16_by_name_is_possible_there_and_warned_of() {
    let sets = ["run=/nowhere/run", "diffusion.step.precision=bf16"];
    let (text, json) = plan("cpu-demo.yaml", &sets, &OLD_CPU);
    assert_eq!((&json["stages"][0]["precision"], &json["stages"][1]["precision"]), (&"fp32".into(), &"bf16".into()));
    for part in [
        "tokenizer float32 (auto: this CPU has no native bfloat16",
        "diffusion bfloat16 (diffusion.step.precision asks for it)",
        "warning: stage diffusion computes in bfloat16, but this CPU has no native bfloat16",
        "float32 was six times as fast",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    assert!(!json["warnings"].to_string().contains("stage tokenizer"), "{}", json["warnings"]);
}

#[test]
fn a_gpu_is_asked_for_its_compute_capability() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("nvidia-smi");
    let sets = ["tokenizer.perceptual_weight=0", "diffusion.step.activation_checkpointing=block"];
    let path = [("PATH", folder.path().to_str().unwrap())];
    for (capability, arithmetic) in [("9.0", "bf16"), ("7.5", "fp32")] {
        std::fs::write(&program, format!("#!/bin/sh\necho {capability}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let (text, json) = plan("a100x8.yaml", &sets, &path);
        assert_eq!(json["stages"][1]["precision"], arithmetic);
        assert!(text.contains(&format!("compute capability {capability})")), "{text}");
    }
    let (text, json) = plan("a100x8.yaml", &sets, &[]);
    assert_eq!(json["stages"][1]["precision"], "bf16");
    assert!(text.contains("compute capability 8.0 or higher is assumed"), "{text}");
}
