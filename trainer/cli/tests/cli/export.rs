//! From a run folder to one file of weights, and back into networks, public names and Python.

use std::path::Path;
use std::process::Command;

use defusion::export::{ExportArgs, run_export};
use defusion_checkpoint::RunFolder;
use defusion_config::{Resolved, Stage};
use defusion_model::import;
use defusion_model::weights::WeightsFile;
use defusion_restore::Networks;
use defusion_restore::export::{Export, ExportError, Exported, Part};
use tch::{Device, nn};

use crate::tiny;

/// A run with one tokenizer and two diffusion checkpoints; returns it with the weights of the newest.
fn run(folder: &Path) -> (Resolved, RunFolder, Networks) {
    let config = tiny::config(folder, "");
    let (old, new) = (tiny::networks(&config, 1), tiny::networks(&config, 2));
    let snapshots = [
        tiny::snapshot(&old, Stage::Tokenizer, 30),
        tiny::snapshot(&old, Stage::Diffusion, 10),
        tiny::snapshot(&new, Stage::Diffusion, 20),
    ];
    let run = tiny::save(&config, &snapshots);
    (config, run, new)
}

fn args(run: &RunFolder, to: &Path) -> ExportArgs {
    ExportArgs {
        run: run.url().to_owned(),
        to: to.to_owned(),
        checkpoint: None,
        tokenizer: false,
        unet: false,
        force: false,
    }
}

fn assert_equal(a: &nn::VarStore, b: &nn::VarStore) {
    let (a, b) = (a.variables(), b.variables());
    assert_eq!(a.len(), b.len());
    for (name, tensor) in a {
        assert_eq!(tensor, b[&name], "{name}");
    }
}

#[test]
fn the_newest_averaged_weights_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let (config, run, new) = run(folder.path());
    let to = folder.path().join("defusion.safetensors");
    run_export(&args(&run, &to)).unwrap();

    let (exported, networks) = Exported::open(&to, Device::Cpu).unwrap();
    assert_equal(networks.store(), new.store());
    assert_eq!(exported.step, 20);
    assert_eq!(exported.config_digest, config.digest());
    assert_eq!(exported.config.model, config.config.model);
    assert_eq!(exported.checkpoint, "2-diffusion-000000020-a0001");
    let (direct, networks) = Exported::of_run(&run, Device::Cpu).unwrap();
    assert_eq!(direct, exported);
    assert_equal(networks.store(), new.store());

    let file = WeightsFile::open(&to).unwrap();
    let prefixes: std::collections::BTreeSet<String> =
        file.names().iter().map(|name| name.split('.').next().unwrap().to_owned()).collect();
    assert_eq!(prefixes.into_iter().collect::<Vec<_>>(), ["adapter", "bridge", "tokenizer", "unet"]);
    assert!(!std::fs::read(&to).unwrap().windows(11).any(|w| w == b"secret-host"));
    assert_eq!(file.metadata("checkpoint_manifest_sha256").unwrap().len(), 64);
}

#[test]
fn one_network_alone_has_its_public_names() {
    let folder = tempfile::tempdir().unwrap();
    let (config, run, new) = run(folder.path());
    let model = &config.config.model;

    let to = folder.path().join("unet.safetensors");
    run_export(&ExportArgs { unet: true, ..args(&run, &to) }).unwrap();
    let store = nn::VarStore::new(Device::Cpu);
    let _unet = defusion_model::networks::unet::Unet::new(&(store.root() / "unet"), &model.unet);
    import::unet(&store, &to).unwrap();
    for (name, tensor) in store.variables() {
        assert_eq!(tensor, new.store().variables()[&name]);
    }

    let to = folder.path().join("vqgan.safetensors");
    run_export(&ExportArgs { tokenizer: true, ..args(&run, &to) }).unwrap();
    let store = nn::VarStore::new(Device::Cpu);
    let _tokenizer = defusion_model::networks::tokenizer::Tokenizer::new(&store.root(), &model.tokenizer);
    import::tokenizer(&store, None, &to).unwrap();
    for (name, tensor) in store.variables() {
        assert_eq!(tensor, new.store().variables()[&format!("tokenizer.{name}")]);
    }
    // A part is nothing to restore with.
    let error = Exported::open(&to, Device::Cpu).unwrap_err();
    assert!(error.to_string().contains("vqgan.safetensors"), "{error}");
}

#[test]
fn a_checkpoint_can_be_named_and_a_damaged_one_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let (_, run, _) = run(folder.path());
    let named = "2-diffusion-000000010-a0001".parse().unwrap();
    assert_eq!(Export::of_run(&run, Some(named), Part::Whole).unwrap().checkpoint, named);

    let damaged = folder.path().join("checkpoints/2-diffusion-000000020-a0001/ema-1of1.safetensors");
    let mut bytes = std::fs::read(&damaged).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&damaged, bytes).unwrap();
    assert_eq!(Export::of_run(&run, None, Part::Whole).unwrap().checkpoint, named);
    let error = Export::of_run(&run, Some("2-diffusion-000000020-a0001".parse().unwrap()), Part::Whole).unwrap_err();
    assert!(error.to_string().contains("ema-1of1.safetensors"), "{error}");
}

#[test]
fn a_run_in_its_first_stage_exports_its_tokenizer_only() {
    let folder = tempfile::tempdir().unwrap();
    let config = tiny::config(folder.path(), "");
    let networks = tiny::networks(&config, 1);
    let run = tiny::save(&config, &[tiny::snapshot(&networks, Stage::Tokenizer, 30)]);
    let error = Export::of_run(&run, None, Part::Whole).unwrap_err();
    assert!(matches!(error, ExportError::NoCheckpoint { stage: Stage::Diffusion, .. }));
    assert!(error.to_string().contains("--tokenizer"), "{error}");
    let export = Export::of_run(&run, None, Part::Tokenizer).unwrap();
    assert_eq!(export.checkpoint.stage, Stage::Tokenizer);
    assert!(export.tensors.contains_key("quantize.embedding.weight"));
}

#[test]
fn a_file_that_exists_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (_, run, _) = run(folder.path());
    let to = folder.path().join("precious.safetensors");
    std::fs::write(&to, "precious").unwrap();
    assert!(matches!(run_export(&args(&run, &to)), Err(ExportError::Exists { .. })));
    assert_eq!(std::fs::read(&to).unwrap(), b"precious");
    assert!(Exported::open(&to, Device::Cpu).unwrap_err().to_string().contains("precious.safetensors"));
    run_export(&ExportArgs { force: true, ..args(&run, &to) }).unwrap();
    Exported::open(&to, Device::Cpu).unwrap();
}

#[test]
fn no_run_folder_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::open(folder.path().to_str().unwrap()).unwrap();
    let error = Export::of_run(&run, None, Part::Whole).unwrap_err().to_string();
    assert!(error.contains("config.yaml"), "{error}");
}

#[test]
#[ignore = "oracle: needs DEFUSION_ORACLE_PYTHON with tests/oracles/requirements.txt"]
fn oracle_export_opens_in_python() {
    let folder = tempfile::tempdir().unwrap();
    let (config, run, new) = run(folder.path());
    let to = folder.path().join("defusion.safetensors");
    run_export(&args(&run, &to)).unwrap();
    let script = "
import json, sys
from safetensors import safe_open
with safe_open(sys.argv[1], 'numpy') as f:
    sums = {name: [list(f.get_tensor(name).shape), float(f.get_tensor(name).astype('float64').sum())] for name in f.keys()}
    print(json.dumps({'metadata': f.metadata(), 'sums': sums}))
";
    let python = std::env::var("DEFUSION_ORACLE_PYTHON").expect("DEFUSION_ORACLE_PYTHON");
    let output = Command::new(python).args(["-c", script]).arg(&to).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seen: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(seen["metadata"]["config_digest"], config.digest());
    let variables = new.store().variables();
    assert_eq!(seen["sums"].as_object().unwrap().len(), variables.len());
    for (name, tensor) in variables {
        let entry = &seen["sums"][&name];
        assert_eq!(entry[0], serde_json::json!(tensor.size()), "{name}");
        let sum = tensor.sum(tch::Kind::Double).double_value(&[]);
        assert!((entry[1].as_f64().unwrap() - sum).abs() < 1e-6, "{name}");
    }
}
