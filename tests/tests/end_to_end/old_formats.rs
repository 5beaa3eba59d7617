//! Shards and checkpoints of format version 1 go on being read: a run that the programs of an earlier version left is
//! verified, resumed and exported. `tests/fixtures/format-1` holds it, with what those programs made of it next.

use std::path::{Path, PathBuf};

use defusion_tests::{Sandbox, assert_success, defusion, defusion_data, mpirun, transcript};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Largest difference of a loss from the earlier programs', relative: other processors round otherwise, and eight steps
/// of Adam amplify it.
const TOLERANCE: f64 = 1e-3;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/format-1").join(name)
}

fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Copies a folder with all that it holds.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("folder made");
    for entry in std::fs::read_dir(from).expect("folder read") {
        let entry = entry.expect("entry read");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("file copied");
        }
    }
}

#[test]
fn shards_verify_and_are_still_made_byte_by_byte() {
    let sandbox = Sandbox::new();
    for name in ["photos", "photos-test"] {
        let verify = defusion_data().arg("verify").arg(fixture("shards").join(name)).output().expect("program runs");
        assert_success(&verify);
        let mut prepare = defusion_data();
        prepare.args(["prepare", "--dataset", name, "--layout", "folder", "--from"]).arg(fixture("images").join(name));
        assert_success(&prepare.arg("--to").arg(sandbox.path("shards")).output().expect("program runs"));
        let manifest = |root: &Path| json(&root.join(name).join("manifest.json"));
        assert_eq!(manifest(&sandbox.path("shards")), manifest(&fixture("shards")), "{name}");
    }
}

#[test]
fn a_run_is_resumed_with_its_own_samples_and_losses() {
    let sandbox = Sandbox::new();
    copy(&fixture("run"), &sandbox.path("run"));
    let trained = mpirun(1)
        .arg("--config")
        .arg(fixture("recipe.yaml"))
        .args(["--set", &format!("run={}", sandbox.path("run").display())])
        .args(["--set", &format!("data.shards={}", fixture("shards").display())])
        .output()
        .expect("mpirun runs");
    assert_success(&trained);
    let said = transcript(&trained);
    assert!(said.contains("resuming from 2-diffusion-000000004"), "{said}");

    let metrics = std::fs::read_to_string(sandbox.path("run/metrics.jsonl")).expect("metrics.jsonl");
    let lines: Vec<Value> = metrics.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect();
    let expected = json(&fixture("expected.json"));
    for step in expected["steps"].as_array().expect("steps") {
        let line = lines
            .iter()
            .find(|line| line["stage"] == "diffusion" && line["step"] == step["step"])
            .unwrap_or_else(|| panic!("{step} was not logged:\n{metrics}"));
        assert_eq!(line["samples_digest"].as_f64(), step["samples_digest"].as_f64(), "{step}");
        let (loss, want) = (line["loss"].as_f64().expect("loss"), step["loss"].as_f64().expect("loss"));
        assert!((loss - want).abs() <= TOLERANCE * want, "{step}: {loss}");
    }
}

#[test]
fn weights_are_exported_byte_by_byte() {
    let sandbox = Sandbox::new();
    let to = sandbox.path("weights.safetensors");
    let export = defusion().arg("export").arg("--run").arg(fixture("run")).arg("--to").arg(&to).output();
    assert_success(&export.expect("defusion runs"));
    let bytes = std::fs::read(&to).expect("weights");
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
    let mut names: Value = serde_json::from_slice(&bytes[8..header]).expect("a JSON header");
    // The metadata names the run folder, which lies elsewhere in every checkout.
    names.as_object_mut().expect("an object").remove("__metadata__");
    let expected = &json(&fixture("expected.json"))["export"];
    assert_eq!(hex(&bytes[header..]), expected["data_sha256"], "the tensors' bytes");
    // serde_json writes an object's keys in their order.
    assert_eq!(hex(names.to_string().as_bytes()), expected["header_without_metadata_sha256"], "names and shapes");
}

fn hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
