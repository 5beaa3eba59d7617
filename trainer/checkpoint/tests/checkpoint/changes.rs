//! What may change when a run goes on, and what may not.

use defusion_checkpoint::{CheckpointError, DatasetRecord};
use defusion_config::Stage;

use crate::run_folder::{folder, recipe};
use crate::support::{save_all, snapshot};

#[test]
fn a_run_goes_on_with_what_its_weights_do_not_depend_on() {
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(&dir);
    let digest = folder.enter(&recipe("diffusion: {iterations: 100, lr: {base: 1.0e-4, min: 1.0e-6}}")).unwrap();
    let with = |more: &str, top: &str| {
        folder.enter(&recipe(&format!("diffusion: {{{more}, lr: {{base: 1.0e-4, min: 1.0e-6}}}}\n{top}")))
    };
    for allowed in [
        "iterations: 100, sampler: {timesteps: [500, 100], eta: 0.5}",
        "iterations: 100, step: {bucket_mib: 1.0, max_nonfinite: 3}",
        "iterations: 100, step: {activation_checkpointing: budget, activation_gib: 2.0}",
        "iterations: 200",
    ] {
        assert_eq!(with(allowed, "").unwrap(), digest, "{allowed}");
    }
    for (refused, more, want) in [
        ("iterations: 99", "", "diffusion.iterations was 100, is 99; it may grow, not shrink"),
        ("iterations: 100, clip_norm: 2.0", "", "diffusion.clip_norm was 1.0, is 2.0"),
        ("iterations: 100, pretrained: w", "", "diffusion.pretrained was unset, is \"given\""),
        ("iterations: 100", "model: {bridge: {num_res_blocks: 3}}", "model.bridge.num_res_blocks was 2, is 3"),
        ("iterations: 100, step: {channels_last: false}", "seed: 9", "seed was 0, is 9\n"),
    ] {
        let error = with(refused, more).unwrap_err();
        assert!(matches!(error, CheckpointError::OtherKeys { .. }), "{error}");
        assert!(error.to_string().contains(want), "{error}");
    }
    // Files that have gone into the run, or lie elsewhere here.
    let other_dir = tempfile::tempdir().unwrap();
    let other = self::folder(&other_dir);
    let grounds = |path: &str| recipe(&format!("diffusion: {{pretrained: {path}}}"));
    assert_eq!(other.enter(&grounds("/here/w")).unwrap(), other.enter(&grounds("/there/w")).unwrap());
}

#[test]
fn a_stage_that_has_ended_gets_no_more_iterations() {
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(&dir);
    let tokenizer = |iterations: u64| {
        let mut recipe = recipe("");
        recipe.config.tokenizer.iterations = iterations;
        recipe
    };
    let digest = folder.enter(&tokenizer(5)).unwrap();
    let attempt = folder.claim(&digest).unwrap();
    save_all(&folder, &attempt, 1, &snapshot(Stage::Tokenizer, 5, 1));
    assert_eq!(folder.enter(&tokenizer(6)).unwrap(), digest);
    save_all(&folder, &attempt, 1, &snapshot(Stage::Diffusion, 1, 1));
    let error = folder.enter(&tokenizer(6)).unwrap_err().to_string();
    assert!(error.contains("tokenizer.iterations was 5, is 6, but stage tokenizer has ended"), "{error}");
    assert_eq!(folder.enter(&tokenizer(5)).unwrap(), digest);
}

#[test]
fn datasets_are_recorded_once_and_compared() {
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(&dir);
    let record = |sha256: &str| DatasetRecord { sha256: sha256.into(), shards: 2, images: 30 };
    let with = |sets: &[(&str, &str)]| {
        folder.check_datasets(&sets.iter().map(|(name, sha256)| ((*name).to_owned(), record(sha256))).collect())
    };
    with(&[("a", "aaaa"), ("b", "bbbb")]).unwrap();
    with(&[("a", "aaaa")]).unwrap();
    with(&[("a", "aaaa"), ("c", "cccc")]).unwrap();
    for changed in [[("a", "aaaa"), ("b", "eeee")], [("b", "bbbb"), ("c", "eeee")]] {
        let error = with(&changed).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, CheckpointError::OtherData { .. }) && !error.is_transient());
        let name = changed.iter().find(|(_, sha256)| *sha256 == "eeee").unwrap().0;
        assert!(text.contains(&format!("dataset {name} has other shards")) && text.contains("datasets.json"), "{text}");
        assert!(text.contains("30 images in 2 shards, eeee"), "{text}");
    }
    with(&[("a", "aaaa"), ("b", "bbbb"), ("c", "cccc")]).unwrap();
}
