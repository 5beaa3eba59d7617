//! What a stage holds, what it starts from, and what a step leaves.

use std::path::Path;

use defusion_checkpoint::Snapshot;
use defusion_config::{Config, Resolved, Stage};
use defusion_dataloader::loader::Batch;
use defusion_footprint::{checkpoint_bytes, memory};
use defusion_model::networks::ForwardOptions;
use defusion_model::networks::discriminator::Discriminator;
use defusion_model::networks::tokenizer::Tokenizer;
use defusion_parallel::ProcessGroup;
use defusion_trainer::stage::{DiffusionTraining, StepReport, TokenizerTraining, TrainingStage};
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

fn config(changes: &[&str]) -> Config {
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/tiny-test.yaml");
    let changes: Vec<_> = changes.iter().map(|change| change.parse().unwrap()).collect();
    Resolved::load(&recipe, &changes).unwrap().config
}

fn tokenizer(config: &Config) -> TokenizerTraining {
    TokenizerTraining::new(config, &ProcessGroup::solo(Device::Cpu)).unwrap()
}

fn diffusion(config: &Config) -> DiffusionTraining {
    DiffusionTraining::new(config, &ProcessGroup::solo(Device::Cpu)).unwrap()
}

/// A batch of instructions for stage 1, with `spoilt` in its first pixel.
fn instructions(config: &Config, spoilt: Option<f32>) -> Batch {
    let size = config.data.grounds.size as usize;
    let len = config.tokenizer.global_batch as usize;
    let mut instruction: Vec<f32> = (0..len * 3 * size * size).map(|i| (i as f32 * 0.37).sin()).collect();
    instruction[0] = spoilt.unwrap_or(instruction[0]);
    Batch { len, step_len: len, weight: 1.0, size, instruction, ..Batch::default() }
}

fn copy(snapshot: &Snapshot, group: &str) -> Vec<(String, Tensor)> {
    snapshot.groups[group].iter().map(|(name, t)| (name.clone(), t.detach().copy())).collect()
}

fn value(report: &StepReport, name: &str) -> f64 {
    report.values.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("no {name}")).1.double_value(&[])
}

#[test]
fn memory_counts_what_a_stage_holds() {
    let _turn = crate::turn();
    let config = config(&[]);
    let stages: [(Stage, Snapshot); 2] =
        [(Stage::Tokenizer, tokenizer(&config).snapshot(0)), (Stage::Diffusion, diffusion(&config).snapshot(0))];
    for (stage, snapshot) in stages {
        // Running statistics and the optimizers' counts are not worth a line in an estimate.
        let counted = |name: &str| !name.starts_with("running_") && !["step", "skipped"].contains(&name);
        let tensors = snapshot.groups.values().flatten();
        let held: usize = tensors
            .filter(|(name, _)| counted(name.rsplit('.').next().unwrap_or(name)))
            .map(|(_, tensor)| tensor.numel() * 4)
            .sum();
        let estimate = memory(&config, stage);
        assert_eq!(held as u64, estimate.weights + estimate.optimizer + estimate.average, "{stage}");
        assert_eq!(held as u64, checkpoint_bytes(&config, stage), "{stage}");
    }
}

#[test]
fn fresh_weights_are_a_function_of_the_seed_alone() {
    let _turn = crate::turn();
    let config = config(&[]);
    let first = [copy(&tokenizer(&config).snapshot(0), "model"), copy(&diffusion(&config).snapshot(0), "model")];
    let other_order = [copy(&diffusion(&config).snapshot(0), "model"), copy(&tokenizer(&config).snapshot(0), "model")];
    assert_eq!(first[0], other_order[1]);
    assert_eq!(first[1], other_order[0]);
    let mut other = config;
    other.seed += 1;
    assert_ne!(first[1], copy(&diffusion(&other).snapshot(0), "model"));
}

#[test]
fn weights_that_do_not_fit_stage_2_are_refused_before_stage_1() {
    let _turn = crate::turn();
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&[]);
    let fitting = copy(&diffusion(&config).snapshot(0), "model");
    let unet: Vec<(String, Tensor)> =
        fitting.into_iter().filter_map(|(name, t)| Some((name.strip_prefix("unet.")?.to_owned(), t))).collect();
    let mut check = |tensors: &[(String, Tensor)]| {
        let file = dir.path().join("unet.safetensors");
        Tensor::write_safetensors(tensors, &file).unwrap();
        config.diffusion.pretrained = Some(file.display().to_string());
        let checked = DiffusionTraining::check(&config);
        let built = DiffusionTraining::new(&config, &ProcessGroup::solo(Device::Cpu));
        assert_eq!(checked.as_ref().err().map(ToString::to_string), built.err().map(|e| e.to_string()));
        checked.err().map(|e| e.to_string())
    };
    assert_eq!(check(&unet), None);
    let error = check(&unet[1..]).unwrap();
    assert!(error.contains("1 missing") && error.contains(&unet[0].0), "{error}");
}

#[test]
fn the_discriminator_sees_what_the_updated_autoencoder_makes() {
    let _turn = crate::turn();
    let config = config(&["tokenizer.disc_start=0"]);
    let mut stage = tokenizer(&config);
    let before = stage.snapshot(0);
    let (generator_before, discriminator_before) = (copy(&before, "model"), copy(&before, "disc_model"));
    let batch = instructions(&config, None);
    let report = stage.step(&batch, 0).unwrap();
    let generator_after = copy(&stage.snapshot(1), "model");

    let side = batch.size as i64;
    let v = Tensor::from_slice(&batch.instruction).view([-1, 3, side, side]);
    let loss_with = |generator: &[(String, Tensor)]| {
        let (vars, disc_vars) = (VarStore::new(Device::Cpu), VarStore::new(Device::Cpu));
        let tokenizer = Tokenizer::new(&vars.root(), &config.model.tokenizer);
        let discriminator = Discriminator::new(&disc_vars.root(), &config.model.discriminator);
        tch::no_grad(|| {
            for (vars, values) in [(&vars, generator), (&disc_vars, &discriminator_before[..])] {
                let variables = vars.variables();
                values.iter().for_each(|(name, value)| variables[name].shallow_clone().copy_(value));
            }
            let e = tokenizer.encode(&v, &ForwardOptions::EVAL);
            let z = tokenizer.quantize(&e, config.tokenizer.codebook_loss).z_q;
            let fake = tokenizer.decode(&z, &ForwardOptions::EVAL);
            let hinge = |x: Tensor| x.relu().mean(Kind::Float).double_value(&[]);
            let (real, fake) = (discriminator.forward(&v, true), discriminator.forward(&fake, true));
            0.5 * (hinge(1.0 - real) + hinge(1.0 + fake))
        })
    };
    let (old, new) = (loss_with(&generator_before), loss_with(&generator_after));
    let found = value(&report, "discriminator_loss");
    assert!((found - new).abs() < 1e-5 && (found - old).abs() > 1e-4, "{found}: {old} before the update, {new} after");
}

#[test]
fn a_step_that_is_not_finite_leaves_no_trace() {
    let _turn = crate::turn();
    let config = config(&["tokenizer.disc_start=0"]);
    let mut stage = tokenizer(&config);
    stage.step(&instructions(&config, None), 0).unwrap();
    let groups = ["model", "disc_model"];
    let before = groups.map(|group| copy(&stage.snapshot(1), group));
    let report = stage.step(&instructions(&config, Some(f32::NAN)), 1).unwrap();
    assert!(value(&report, "loss").is_nan() && value(&report, "discriminator_loss").is_nan());
    assert!(before[1].iter().any(|(name, _)| name.ends_with("running_mean")));
    for (group, before) in groups.iter().zip(before) {
        assert_eq!(copy(&stage.snapshot(2), group), before, "{group}");
    }
    // And the next one goes on.
    let report = stage.step(&instructions(&config, None), 2).unwrap();
    assert!(value(&report, "loss").is_finite() && value(&report, "discriminator_loss").is_finite());
}

#[test]
fn codes_are_counted_over_the_steps_between_log_lines() {
    let _turn = crate::turn();
    let config = config(&["tokenizer.disc_start=100", "monitor.log_every=3"]);
    let mut stage = tokenizer(&config);
    for step in 0..6 {
        let report = stage.step(&instructions(&config, None), step).unwrap();
        let logged = report.values.iter().any(|(name, _)| *name == "codebook_used");
        assert_eq!(logged, (step + 1) % 3 == 0, "step {step}");
        if logged {
            let (used, perplexity) = (value(&report, "codebook_used"), value(&report, "codebook_perplexity"));
            let codes = config.model.tokenizer.n_embed as f64;
            assert!(used > 0.0 && used <= 1.0 && perplexity >= 0.999 && perplexity <= used * codes * 1.001);
        }
    }
}
