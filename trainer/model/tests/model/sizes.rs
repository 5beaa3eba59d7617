//! The launcher's plan counts parameters without building networks (`defusion_footprint`). What it counts must be what
//! is built: every name and every shape, for every recipe.

use std::collections::BTreeMap;
use std::path::Path;

use defusion_config::{Config, Resolved};
use defusion_footprint::{self as footprint, Network};
use defusion_model::networks::defusion::DefusionUnet;
use defusion_model::networks::discriminator::Discriminator;
use defusion_model::networks::tokenizer::Tokenizer;
use tch::nn::VarStore;
use tch::{Device, Kind};

fn same(what: &str, counted: &Network, built: &VarStore) {
    let counted: BTreeMap<String, Vec<i64>> = counted
        .parameters
        .iter()
        .map(|p| (p.name.clone(), p.shape.iter().map(|n| i64::try_from(*n).unwrap()).collect()))
        .collect();
    let trained = built.variables().into_iter().filter(|(_, tensor)| tensor.requires_grad());
    let built: BTreeMap<String, Vec<i64>> = trained.map(|(name, tensor)| (name, tensor.size())).collect();
    assert_eq!(counted, built, "{what}");
}

fn check(what: &str, config: &Config) {
    let (model, instruction) = (&config.model, config.data.grounds.size);
    // Half precision: the largest is 552 million parameters.
    let build = |build: &dyn Fn(&tch::nn::Path<'_>)| {
        let mut vars = VarStore::new(Device::Cpu);
        vars.set_kind(Kind::BFloat16);
        build(&vars.root());
        vars
    };
    let tokenizer = build(&|path| drop(Tokenizer::new(path, &model.tokenizer)));
    same(what, &footprint::tokenizer(&model.tokenizer, instruction), &tokenizer);
    let discriminator = build(&|path| drop(Discriminator::new(path, &model.discriminator)));
    same(what, &footprint::discriminator(&model.discriminator, instruction), &discriminator);
    let tokens = footprint::tokens(model, instruction);
    assert_eq!(Tokenizer::token_count(&model.tokenizer, i64::from(instruction)), i64::try_from(tokens).unwrap());
    let diffusion = build(&|path| drop(DefusionUnet::new(path, model, i64::try_from(tokens).unwrap())));
    same(what, &footprint::diffusion(model, config.data.crop, tokens), &diffusion);
}

#[test]
fn what_is_counted_is_what_is_built() {
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let mut recipes: Vec<_> = std::fs::read_dir(recipes)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml") && !path.ends_with("a100x8.yaml"))
        .collect();
    recipes.sort();
    assert!(recipes.len() >= 2, "{recipes:?}");
    // Besides the recipes: plain convolutions for up and down, no FiLM, no adapter.
    let plain =
        ["model.unet.resblock_updown=false", "model.unet.use_scale_shift_norm=false", "model.adapter.enabled=false"];
    for path in &recipes {
        for changes in [&plain[..0], &plain] {
            let changes: Vec<_> = changes.iter().map(|change| change.parse().unwrap()).collect();
            let config = Resolved::load(path, &changes).unwrap_or_else(|e| panic!("{e}")).config;
            check(&path.display().to_string(), &config);
        }
    }
}
