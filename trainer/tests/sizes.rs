//! The launcher's plan counts parameters without building networks (`defusion_config::size`). What it counts must be
//! what is built: every name and every shape, for every recipe.

use std::collections::BTreeMap;
use std::path::Path;

use defusion_config::size::{self, Network};
use defusion_config::{Config, Resolved};
use defusion_trainer::model::defusion::DefusionUnet;
use defusion_trainer::model::discriminator::Discriminator;
use defusion_trainer::model::tokenizer::Tokenizer;
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
    same(what, &size::tokenizer(&model.tokenizer, instruction), &tokenizer);
    let discriminator = build(&|path| drop(Discriminator::new(path, &model.discriminator)));
    same(what, &size::discriminator(&model.discriminator, instruction), &discriminator);
    let tokens = size::tokens(model, instruction);
    let diffusion = build(&|path| drop(DefusionUnet::new(path, model, i64::try_from(tokens).unwrap())));
    same(what, &size::diffusion(model, config.data.crop, tokens), &diffusion);
}

#[test]
fn what_is_counted_is_what_is_built() {
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let mut recipes: Vec<_> = std::fs::read_dir(recipes)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml") && !path.ends_with("a100x8.yaml"))
        .collect();
    recipes.sort();
    assert!(recipes.len() >= 2, "{recipes:?}");
    // Besides the recipes: plain convolutions for up and down, no FiLM, no adapter.
    let plain = ["model.unet.resblock_updown=false", "model.unet.use_scale_shift_norm=false", "model.adapter.enabled=false"];
    for path in &recipes {
        for changes in [&plain[..0], &plain] {
            let changes: Vec<_> = changes.iter().map(|change| change.parse().unwrap()).collect();
            let config = Resolved::load(path, &changes).unwrap_or_else(|e| panic!("{e}")).config;
            check(&path.display().to_string(), &config);
        }
    }
}

#[test]
fn measure() {
    use defusion_trainer::model::ForwardOptions;
    let rss = || {
        let s = std::fs::read_to_string("/proc/self/statm").unwrap();
        s.split(' ').nth(1).unwrap().parse::<f64>().unwrap() * 4096.0
    };
    for (ch, crop, mult) in [(64, 128i64, "[1,2,2,4]"), (32, 256, "[1,1,2,2,4,4]")] {
        let sets = [format!("model.unet.model_channels={ch}"), format!("data.crop={crop}"), format!("model.unet.channel_mult={mult}"), "model.unet.num_res_blocks=2".into(),
            format!("model.bridge.channels={}", if mult.len() > 10 {"[64,64,128,128,256,256]"} else {"[64,64,128,128]"}), "model.bridge.num_res_blocks=2".into(), "model.unet.attention_downsamples=[8,16,32]".to_string()];
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/cpu-demo.yaml");
        let changes: Vec<_> = sets.iter().map(|change| change.parse().unwrap()).collect();
        let config = Resolved::load(&path, &changes).unwrap_or_else(|e| panic!("{e}")).config;
        let model = &config.model;
        let tokens = size::tokens(model, config.data.grounds.size);
        let vars = VarStore::new(Device::Cpu);
        let net = DefusionUnet::new(&vars.root(), model, tokens as i64);
        let x = tch::Tensor::randn([1, 3, crop, crop], (Kind::Float, Device::Cpu));
        let t = tch::Tensor::from_slice(&[5i64]);
        let tok = tch::Tensor::randn([1, tokens as i64, model.tokenizer.embed_dim], (Kind::Float, Device::Cpu));
        let o = ForwardOptions::train(defusion_config::ActivationCheckpointing::None);
        tch::no_grad(|| drop(net.forward(&x, &t, &x, Some(&tok), &o)));
        for b in [2i64, 4] {
            let xb = x.repeat([b, 1, 1, 1]);
            let tb = t.repeat([b]);
            let kb = tok.repeat([b, 1, 1]);
            let before = rss();
            let y = net.forward(&xb, &tb, &xb, Some(&kb), &o);
            let after = rss();
            let est = size::diffusion(model, crop as u32, tokens);
            println!("ch {ch} crop {crop} b {b}: measured {:.1} MiB, estimate {:.1} MiB", (after - before) / 1048576.0, est.kept.bytes(4) as f64 * b as f64 / 1048576.0);
            drop(y);
        }
    }
}
