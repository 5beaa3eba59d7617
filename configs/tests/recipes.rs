//! Every recipe that is shipped must parse and validate.

use std::path::{Path, PathBuf};

use defusion_config::protocol::EXIT_USAGE;
use defusion_config::{ConfigError, Resolved};

fn recipes() -> Vec<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(env!("CARGO_MANIFEST_DIR"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    found.sort();
    found
}

#[test]
fn every_recipe_parses_and_is_named_like_its_file() {
    let recipes = recipes();
    assert!(recipes.len() >= 3, "{recipes:?}");
    for path in recipes {
        let recipe = Resolved::load(&path, &[]).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(Some(recipe.config.name.as_str()), path.file_stem().and_then(|s| s.to_str()));
    }
}

#[test]
fn a_recipe_written_out_in_full_is_the_same_recipe() {
    for path in recipes() {
        let recipe = Resolved::load(&path, &[]).unwrap();
        let text = recipe.to_yaml().unwrap();
        let again = Resolved::parse(&text, Path::new("resolved.yaml"), &[]).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(again.config, recipe.config);
        assert_eq!(again.digest(), recipe.digest());
    }
}

/// A recipe as it was written when the key below `sampler` was still called `clip_to_picture`.
const OLD: &str = "name: old\nrun: runs/old\ndata: {shards: shards, datasets: [{name: photos}]}\n\
    tokenizer: {iterations: 0, pretrained: weights/x.safetensors}\ndiffusion: {sampler: {clip_to_picture: false}}\n";

fn parse(text: &str, changes: &[&str]) -> Result<Resolved, ConfigError> {
    let changes: Vec<_> = changes.iter().map(|c| c.parse()).collect::<Result<_, _>>()?;
    Resolved::parse(text, Path::new("test.yaml"), &changes)
}

#[test]
fn a_digest_never_changes() {
    // Taken from the program before a key was renamed: its checkpoints are found by them.
    let digest = |text: &str| parse(text, &[]).unwrap().digest();
    assert_eq!(digest(OLD), "8ecd56ed15f44571d04896418fd3f72cc308ddb5b460e0b6d2b9d70646df32e3");
    let eta = OLD.replace("clip_to_picture: false", "eta: 0.5");
    assert_eq!(digest(&eta), "8f59ebe79b4f8ed965c8ac95d6709a1cae24718216379cc3a1469d556f2959e2");
}

#[test]
fn a_key_that_was_renamed_may_have_either_name() {
    let new = OLD.replace("clip_to_picture", "clip_to_image");
    assert_eq!(parse(&new, &[]).unwrap().config, parse(OLD, &[]).unwrap().config);
    assert!(parse(&new, &[]).unwrap().to_yaml().unwrap().contains("clip_to_image: false"));
    for change in ["diffusion.sampler.clip_to_picture=true", "diffusion.sampler.clip_to_image=true"] {
        assert!(parse(OLD, &[change]).unwrap().config.diffusion.sampler.clip_to_image, "{change}");
    }
    let error = parse(OLD, &["diffusion.sampler.clip_to_canvas=true"]).unwrap_err().to_string();
    assert!(error.contains("unknown field `clip_to_canvas`"), "{error}");
}

#[test]
fn what_cannot_work_is_named_with_file_and_key() {
    for (change, words) in [
        ("cluster.nodes=0", "cluster.nodes: is 0; it must be from 1 to 65536"),
        ("cluster.device_memory_gib=0", "cluster.device_memory_gib: is 0; it must be above 0"),
        ("model.unet.channel_mult=[]", "model.unet.channel_mult: has 0 entries; there must be from 1 to 10"),
        ("model.unet.channel_mult=[1, 99]", "model.unet.channel_mult.1: is 99; it must be from 1 to 64"),
        ("model.adapter.scale=.nan", "model.adapter.scale: is NaN; it must be finite"),
        ("data.datasets.0.weight=0", "data.datasets.0.weight: is 0; it must be above 0"),
        ("data.synthesis.haze.beta=[2, 1]", "data.synthesis.haze.beta: is [2, 1]; it must be low, high, from 0 to 100"),
        ("diffusion.adam.beta1=1", "diffusion.adam.beta1: is 1; it must be at least 0 and below 1"),
        ("diffusion.lr.min=1", "diffusion.lr.min: is 1; it must be at most diffusion.lr.base, 0.0001"),
        ("diffusion.lr.warmup=600000", "diffusion.lr.warmup: takes 600000 steps, but there are 600000"),
        ("diffusion.global_batch=12", "diffusion.global_batch: 12 does not divide over 8 workers with accumulation 1"),
        ("diffusion.sampler.tile_stride=288", "diffusion.sampler.tile_stride: is 288; it must be at most"),
        ("diffusion.step.activation_gib=1", "diffusion.step.activation_gib: must be given if"),
    ] {
        let error = parse(OLD, &[change]).unwrap_err();
        assert!(error.to_string().starts_with(&format!("config test.yaml: {words}")), "{error}");
        assert!(!error.is_transient() && error.exit_code() == EXIT_USAGE);
    }
}
