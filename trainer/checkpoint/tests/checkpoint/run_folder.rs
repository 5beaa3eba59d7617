//! Saving, finding, loading and keeping checkpoints in a run folder.

use std::fs;
use std::path::Path;

use defusion_checkpoint::{CheckpointError, RunFolder, Snapshot};
use defusion_config::{Resolved, Stage};

use crate::support::{assert_same, bytes_of, checkpointer, options, save_all, snapshot};

pub fn recipe(text: &str) -> Resolved {
    let text = format!(
        "name: t\nrun: r\ndata:\n  shards: s\n  datasets: [{{name: gopro}}]\ntokenizer: {{perceptual_weight: 0}}\n{text}"
    );
    Resolved::parse(&text, Path::new("t.yaml"), &[]).unwrap()
}

pub fn folder(dir: &tempfile::TempDir) -> RunFolder {
    RunFolder::open(&dir.path().join("run").display().to_string()).unwrap()
}

#[test]
fn a_checkpoint_comes_back_exactly_at_any_world_size() {
    for (name, world) in [("one", 1), ("three", 3), ("seventeen", 17)] {
        let folder = RunFolder::open(&format!("memory://exact-{name}/run")).unwrap();
        let attempt = folder.claim("digest").unwrap();
        let saved = snapshot(Stage::Diffusion, 12_000, 1);
        let id = save_all(&folder, &attempt, world, &saved);
        assert_eq!(id.to_string(), "2-diffusion-000012000-a0001");
        let (found, loaded) = folder.load_latest().unwrap().unwrap();
        assert_eq!(found.id, id);
        assert!(found.damaged.is_empty());
        assert_same(&loaded, &saved);
        assert_same(&folder.load(id).unwrap(), &saved);
        assert_eq!(folder.load_latest().unwrap().unwrap().0.id, id);
    }
}

#[test]
fn shares_are_spread_over_ranks() {
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(&dir);
    let attempt = folder.claim("digest").unwrap();
    let id = save_all(&folder, &attempt, 2, &snapshot(Stage::Tokenizer, 5, 1));
    let mut names: Vec<String> = fs::read_dir(dir.path().join("run").join(id.folder()))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let want = [
        "ema-2of2.safetensors",
        "manifest.json",
        "model-2of2.safetensors",
        "optim-1of2.safetensors",
        "optim-2of2.safetensors",
        "part-1of2.json",
        "part-2of2.json",
    ];
    assert_eq!(names, want);
    let latest = fs::read_to_string(dir.path().join("run/latest.json")).unwrap();
    assert!(latest.contains(&id.to_string()), "{latest}");
}

#[test]
fn only_wanted_groups_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(&dir);
    let attempt = folder.claim("digest").unwrap();
    let id = save_all(&folder, &attempt, 1, &snapshot(Stage::Diffusion, 5, 1));
    fs::write(dir.path().join("run").join(id.folder()).join("optim-1of1.safetensors.tmp"), b"x").unwrap();
    let loaded = folder.load_groups(id, &["ema"]).unwrap();
    assert_eq!(loaded.groups.keys().collect::<Vec<_>>(), ["ema"]);
    let error = folder.load_groups(id, &["disc"]).unwrap_err().to_string();
    assert!(error.contains("disc") && error.contains("no such group"), "{error}");
}

#[test]
fn a_damaged_newest_one_is_reported_and_the_one_before_is_used() {
    // (how, file it is done to, what the report says)
    type Damage = (fn(&Path), &'static str, &'static str);
    let flip: fn(&Path) = |path| {
        let mut bytes = fs::read(path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let cut: fn(&Path) = |path| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
    };
    let lie: fn(&Path) = |path| {
        let text = fs::read_to_string(path).unwrap();
        fs::write(path, text.replacen("\"name\": \"ema-2of2", "\"name\": \"../ema-2of2", 1)).unwrap();
    };
    let cases: [Damage; 5] = [
        (flip, "ema-2of2.safetensors", "sha256"),
        (cut, "optim-2of2.safetensors", "the manifest says"),
        (|path| fs::remove_file(path).unwrap(), "model-2of2.safetensors", "missing"),
        (cut, "manifest.json", "EOF"),
        (lie, "manifest.json", "../ema-2of2"),
    ];
    for (damage, file, want) in cases {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(&dir);
        let attempt = folder.claim("digest").unwrap();
        let old = snapshot(Stage::Diffusion, 10, 1);
        save_all(&folder, &attempt, 2, &old);
        let newest = save_all(&folder, &attempt, 2, &snapshot(Stage::Diffusion, 20, 2));
        damage(&dir.path().join("run").join(newest.folder()).join(file));

        let (found, loaded) = folder.load_latest().unwrap().unwrap();
        assert_eq!((found.id.step, found.damaged.len()), (10, 1), "{file}");
        let report = found.damaged[0].to_string();
        assert!(report.contains(file) && report.contains(want) && report.contains(&newest.to_string()), "{report}");
        assert_same(&loaded, &old);
        let error = folder.load(newest).unwrap_err();
        assert!(matches!(error, CheckpointError::Damaged { .. }), "{error}");

        // The run goes on from the older one, past the damaged one.
        let next = folder.claim("digest").unwrap();
        let again = save_all(&folder, &next, 2, &snapshot(Stage::Diffusion, 20, 3));
        assert_eq!((again.step, again.attempt), (20, 2));
        assert_eq!(folder.load_latest().unwrap().unwrap().0.id, again);
    }
}

#[test]
fn if_all_are_damaged_nothing_is_started_over_silently() {
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(&dir);
    let attempt = folder.claim("digest").unwrap();
    let id = save_all(&folder, &attempt, 1, &snapshot(Stage::Diffusion, 10, 1));
    fs::remove_file(dir.path().join("run").join(id.folder()).join("ema-1of1.safetensors")).unwrap();
    let error = folder.load_latest().unwrap_err().to_string();
    assert!(error.contains("none of the 1 checkpoints") && error.contains("ema-1of1"), "{error}");
}

#[test]
fn an_empty_folder_has_no_checkpoint_and_reading_creates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(&dir);
    assert!(folder.load_latest().unwrap().is_none());
    assert!(folder.checkpoints().unwrap().is_empty());
    assert!(!dir.path().join("run").exists());
}

#[test]
fn a_folder_of_another_config_is_refused_and_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(&dir);
    let digest = folder.enter(&recipe("seed: 1")).unwrap();
    let before = fs::read(dir.path().join("run/config.yaml")).unwrap();
    // What the weights do not depend on may change.
    assert_eq!(folder.enter(&recipe("seed: 1\nmonitor: {log_every: 7}")).unwrap(), digest);
    assert_eq!(folder.config().unwrap().digest(), digest);

    let error = folder.enter(&recipe("seed: 2")).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, CheckpointError::OtherKeys { .. }) && !error.is_transient());
    assert!(text.contains("seed was 1, is 2") && text.contains("set `run` to another folder"), "{text}");
    assert_eq!(fs::read(dir.path().join("run/config.yaml")).unwrap(), before);
    assert_eq!(fs::read_dir(dir.path().join("run")).unwrap().count(), 1);
}

#[test]
fn a_folder_that_is_no_run_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(&dir);
    fs::create_dir(dir.path().join("run")).unwrap();
    fs::write(dir.path().join("run/config.yaml"), "something: else\n").unwrap();
    let error = folder.enter(&recipe("")).unwrap_err().to_string();
    assert!(error.contains("config.yaml") && error.contains("no run folder"), "{error}");
    assert_eq!(fs::read_to_string(dir.path().join("run/config.yaml")).unwrap(), "something: else\n");
}

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(&dir);
    let attempt = folder.claim("digest").unwrap();
    save_all(&folder, &attempt, 1, &snapshot(Stage::Diffusion, 10, 1)); // its digest is "digest"
    let checkpoints = dir.path().join("run/checkpoints");
    let moved = dir.path().join("moved");
    fs::rename(&checkpoints, &moved).unwrap();
    folder.enter(&recipe("")).unwrap();
    fs::rename(&moved, &checkpoints).unwrap();
    assert!(matches!(folder.load_latest().unwrap_err(), CheckpointError::OtherConfig { .. }));
}

#[test]
fn retention_keeps_newest_multiples_and_results_of_stages() {
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(&dir);
    let attempt = folder.claim("digest").unwrap();
    let mut options = options();
    (options.keep, options.keep_every) = (2, 40);
    let mut writer = checkpointer(&folder, &attempt, 0, 1, options);
    let steps = [(Stage::Tokenizer, 10), (Stage::Tokenizer, 20)];
    for (stage, step) in steps.into_iter().chain((1..=7).map(|i| (Stage::Diffusion, 10 * i))) {
        writer.save(&snapshot(stage, step, step)).unwrap();
        writer.wait().unwrap();
    }
    let left: Vec<(Stage, u64)> = folder.checkpoints().unwrap().iter().map(|id| (id.stage, id.step)).collect();
    let want = [(Stage::Diffusion, 70), (Stage::Diffusion, 60), (Stage::Diffusion, 40), (Stage::Tokenizer, 20)];
    assert_eq!(left, want);
    // On disk too: no empty or partial folders stay behind.
    assert_eq!(fs::read_dir(dir.path().join("run/checkpoints")).unwrap().count(), want.len());
}

#[test]
fn saving_the_same_step_again_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(&dir);
    let attempt = folder.claim("digest").unwrap();
    let mut writer = checkpointer(&folder, &attempt, 0, 1, options());
    let id = writer.save(&snapshot(Stage::Diffusion, 10, 1)).unwrap();
    assert_eq!(writer.wait().unwrap(), Some(id));
    let manifest = dir.path().join("run").join(id.folder()).join("manifest.json");
    fs::write(&manifest, "mark").unwrap();
    assert_eq!(writer.save(&snapshot(Stage::Diffusion, 10, 1)).unwrap(), id);
    assert_eq!(writer.wait().unwrap(), None);
    assert_eq!(fs::read_to_string(&manifest).unwrap(), "mark");
}

#[test]
fn state_that_cannot_be_stored_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(&dir);
    let attempt = folder.claim("digest").unwrap();
    let mut writer = checkpointer(&folder, &attempt, 0, 1, options());
    let mut bad = snapshot(Stage::Diffusion, 10, 1);
    bad.insert("../up", [("w", tch::Tensor::from(1f32))]);
    assert!(writer.save(&bad).unwrap_err().to_string().contains("../up"));
    let mut bad = snapshot(Stage::Diffusion, 10, 1);
    bad.insert("model", [("fft", tch::Tensor::zeros([2], (tch::Kind::ComplexFloat, tch::Device::Cpu)))]);
    assert!(writer.save(&bad).unwrap_err().to_string().contains("`fft`"));
    assert!(!dir.path().join("run/checkpoints").exists());
}

#[test]
fn a_snapshot_is_a_copy_of_the_moment() {
    let folder = RunFolder::open("memory://moment/run").unwrap();
    let attempt = folder.claim("digest").unwrap();
    let mut weight = tch::Tensor::from_slice(&[1f32, 2.]);
    let mut live = Snapshot::new(Stage::Diffusion, 1);
    live.insert("model", [("w", weight.shallow_clone())]);
    let mut writer = checkpointer(&folder, &attempt, 0, 1, options());
    let id = writer.save(&live).unwrap();
    // Training goes on while the upload is under way.
    let _ = weight.fill_(9.0);
    writer.wait().unwrap();
    assert_eq!(bytes_of(&folder.load(id).unwrap().groups["model"]["w"]), [1f32, 2.].map(f32::to_le_bytes).concat());
}

#[test]
fn what_a_config_leaves_open_is_settled_once_and_recorded() {
    use defusion_config::{Precision, Stage};
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(&dir);
    let enter = |yaml: &str, native: bool| {
        let mut config = recipe(yaml);
        let digest = folder.enter_settling(&mut config, |config, recorded| config.settle_precision(recorded, native));
        digest.map(|digest| (digest, Stage::BOTH.map(|stage| config.config.step(stage).precision)))
    };
    let first = enter("", false).unwrap();
    assert_eq!(first.1, [Precision::Fp32; 2]);
    assert_eq!(folder.config().unwrap().digest(), first.0);
    // Another machine changes nothing, and names mean what they say.
    assert_eq!(enter("", true).unwrap(), first);
    let diffusion_in = |precision: &str| format!("diffusion: {{step: {{precision: {precision}}}}}");
    assert_eq!(enter(&diffusion_in("fp32"), true).unwrap(), first);
    assert!(matches!(enter(&diffusion_in("bf16"), false).unwrap_err(), CheckpointError::OtherKeys { .. }));
}

#[test]
fn a_run_from_before_precisions_were_settled_goes_on_in_its_own() {
    use defusion_config::Precision;
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(&dir);
    // As the program of before wrote it: the default was bf16, spelled out.
    let before = recipe("diffusion: {step: {precision: bf16}}\n");
    let yaml = before.to_yaml().unwrap().replace("precision: auto", "precision: bf16");
    fs::create_dir(dir.path().join("run")).unwrap();
    fs::write(dir.path().join("run/config.yaml"), format!("# digest: {}\n{yaml}", before.digest())).unwrap();
    let mut config = recipe("");
    let digest =
        folder.enter_settling(&mut config, |config, recorded| config.settle_precision(recorded, false)).unwrap();
    assert_eq!(digest, before.digest());
    assert_eq!(config.config.diffusion.step.precision, Precision::Bf16);
}
