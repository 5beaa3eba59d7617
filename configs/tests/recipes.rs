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
        (
            "diffusion.step.accumulation=3",
            "diffusion.global_batch: 32 does not divide over 8 workers with accumulation 3",
        ),
        ("diffusion.sampler.tile_stride=288", "diffusion.sampler.tile_stride: is 288; it must be at most"),
        ("diffusion.step.activation_gib=1", "diffusion.step.activation_gib: must be given if"),
    ] {
        let error = parse(OLD, &[change]).unwrap_err();
        assert!(error.to_string().starts_with(&format!("config test.yaml: {words}")), "{error}");
        assert!(!error.is_transient() && error.exit_code() == EXIT_USAGE);
    }
}

#[test]
fn a_precision_of_auto_is_settled_by_the_run_folder_or_the_device() {
    use defusion_config::{Precision, Stage};
    let config = |changes: &[&str]| parse(OLD, changes).unwrap().config;
    let settled = |recorded: Option<&[&str]>, native: bool, changes: &[&str]| {
        let mut config = config(changes);
        config.settle_precision(recorded.map(parse_old).as_ref(), native);
        Stage::BOTH.map(|stage| config.step(stage).precision)
    };
    let (fp32, bf16) = (Precision::Fp32, Precision::Bf16);
    assert_eq!(Stage::BOTH.map(|stage| config(&[]).step(stage).precision), [Precision::Auto; 2]);
    assert_eq!(settled(None, true, &[]), [bf16; 2]);
    assert_eq!(settled(None, false, &[]), [fp32; 2]);
    // What is asked for by name stays.
    assert_eq!(settled(None, false, &["diffusion.step.precision=bf16"]), [fp32, bf16]);
    let recorded: &[&str] = &["tokenizer.step.precision=bf16", "diffusion.step.precision=fp32"];
    for native in [true, false] {
        assert_eq!(settled(Some(recorded), native, &[]), [bf16, fp32]);
        assert_eq!(settled(Some(recorded), native, &["tokenizer.step.precision=fp32"]), [fp32; 2]);
    }
}

fn parse_old(changes: &[&str]) -> defusion_config::Config {
    parse(OLD, changes).unwrap().config
}

#[test]
fn the_digest_of_a_recipe_without_precision_is_that_of_bf16() {
    let digest = |changes: &[&str]| parse(OLD, changes).unwrap().digest();
    let both = |precision: &str| {
        let of = |stage: &str| format!("{stage}.step.precision={precision}");
        digest(&[&of("tokenizer"), &of("diffusion")])
    };
    assert_eq!(digest(&[]), both("bf16"));
    assert_eq!(digest(&[]), both("auto"));
    assert_ne!(digest(&[]), both("fp32"));
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    assert_eq!(parse(&format!("\u{feff}{OLD}"), &[]).unwrap().config, parse(OLD, &[]).unwrap().config);
}

#[test]
fn merge_keys_work_and_what_stands_beside_them_wins() {
    let merged = "name: m\nrun: r\ndata: {shards: s, datasets: [{name: a}]}\n\
        tokenizer: &stage {iterations: 10, global_batch: 16, lr: &lr {base: 3.0e-4, warmup: 2}, perceptual_weight: 0}\n\
        diffusion:\n  iterations: 20\n  global_batch: 16\n  lr:\n    <<: *lr\n    warmup: 5\n";
    let config = parse(merged, &["name=n"]).unwrap().config;
    assert_eq!((config.diffusion.lr.base, config.diffusion.lr.warmup), (3.0e-4, 5));
    let list = merged.replace("<<: *lr", "<<: [{warmup: 1}, *lr]");
    assert_eq!(parse(&list, &[]).unwrap().config.diffusion.lr.base, 3.0e-4);
    for (wrong, words) in [
        ("<<: *lr\n    warmups: 5", "unknown field `warmups`"),
        ("<<: 7", "expected a mapping"),
        ("<<: *nowhere", "unknown anchor"),
        // What is merged is held to the same keys.
        ("<<: *stage", "unknown field"),
    ] {
        let error = parse(&merged.replace("<<: *lr", wrong), &[]).unwrap_err().to_string();
        assert!(error.starts_with("config test.yaml: ") && error.contains(words), "{wrong}: {error}");
    }
}

#[test]
fn a_key_that_wants_text_takes_what_looks_like_something_else() {
    for text in ["12345", "007", "1e3", "0x10", "1.50", "true", "null", "~", "2024-01-01", "-1", ".inf", "[a]"] {
        for key in ["name", "run", "data.shards", "tokenizer.pretrained"] {
            let nothing = key == "tokenizer.pretrained" && ["null", "~"].contains(&text);
            let stage_1 = ["tokenizer.iterations=1", "tokenizer.perceptual_weight=0"];
            let config = match parse(OLD, &[&format!("{key}={text}"), stage_1[0], stage_1[1]]) {
                Ok(resolved) => resolved.config,
                Err(error) => panic!("{key}={text}: {error}"),
            };
            let got = match key {
                "name" => Some(config.name),
                "run" => Some(config.run),
                "data.shards" => Some(config.data.shards),
                _ => config.tokenizer.pretrained,
            };
            assert_eq!(got.as_deref(), (!nothing).then_some(text), "{key}={text}");
        }
    }
    let set = |change: &str| parse(OLD, &[change]).map(|resolved| resolved.config.data.datasets[0].name.clone());
    assert_eq!(set("data.datasets.0.name=2024").unwrap(), "2024");
    assert_eq!(set("data.datasets=[{name: 2024}]").unwrap(), "2024");
    assert_eq!(parse(&OLD.replace("name: old", "name: 2024"), &[]).unwrap().config.name, "2024");
    let error = parse(OLD, &["diffusion.iterations=abc"]).unwrap_err().to_string();
    assert!(error.starts_with("--set diffusion.iterations=abc: "), "{error}");
    let error = parse(OLD, &["name="]).unwrap_err().to_string();
    assert!(error.contains("name: must not be empty"), "{error}");
}

#[test]
fn any_batch_divides_over_any_number_of_workers_unless_it_is_accumulated() {
    for nodes in [1, 2, 3, 100] {
        let (nodes, stage_1) =
            (format!("cluster.nodes={nodes}"), ["tokenizer.iterations=1", "tokenizer.perceptual_weight=0"]);
        parse(OLD, &[&nodes, "tokenizer.global_batch=7", stage_1[0], stage_1[1]]).unwrap();
    }
    // Stage 1 is skipped: what it would need is nobody's concern.
    parse(OLD, &["cluster.nodes=3", "tokenizer.step.accumulation=5"]).unwrap();
}
