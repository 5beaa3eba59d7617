//! The engine's step in bfloat16: what it keeps stays float32, and it is the same every time.

use std::collections::BTreeMap;

use defusion_config::{Adam, Arithmetic, StepOptions, UnetArch};
use defusion_model::networks::ForwardOptions;
use defusion_model::networks::unet::{Conditions, Unet};
use defusion_parallel::ProcessGroup;
use defusion_torch::autocast;
use defusion_trainer::stage::{Clock, Engine, EngineOptions};
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

/// A two-level U-Net that has every kind of block, and its weights by name.
fn network() -> (BTreeMap<String, Tensor>, VarStore, Unet) {
    let arch = UnetArch {
        model_channels: 32,
        out_channels: 3,
        num_res_blocks: 1,
        attention_downsamples: vec![2],
        channel_mult: vec![1, 2],
        num_head_channels: 16,
        ..UnetArch::default()
    };
    tch::manual_seed(11);
    let vars = VarStore::new(Device::Cpu);
    let unet = Unet::new(&vars.root(), &arch);
    let weights: BTreeMap<String, Tensor> = vars.variables().into_iter().collect();
    // Layers that start at zero let no gradient through.
    for weight in weights.values().filter(|w| w.dim() > 1) {
        let _ = tch::no_grad(|| weight.shallow_clone().uniform_(-0.1, 0.1));
    }
    (weights, vars, unet)
}

/// The weights as they were, and after `steps` steps at learning rate `lr`; and their moving averages.
fn train(steps: u64, lr: f64) -> [BTreeMap<String, Tensor>; 3] {
    let _turn = crate::turn();
    let (weights, vars, unet) = network();
    let before: BTreeMap<String, Tensor> = weights.iter().map(|(n, t)| (n.clone(), t.detach().copy())).collect();
    let adam = Adam { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.0 };
    let step = StepOptions::default();
    let options = EngineOptions { adam: &adam, step: &step, ema_decay: Some(0.9) };
    let mut engine = Engine::new("", vars, &ProcessGroup::solo(Device::Cpu), &options).unwrap();
    let x = Tensor::randn([2, 3, 16, 16], (Kind::Float, Device::Cpu));
    let t = Tensor::from_slice(&[10_i64, 900]);
    for i in 0..steps {
        let mut clock = Clock::start();
        engine.begin_step().unwrap();
        let forward = || unet.forward(&x, &t, &Conditions::default(), &ForwardOptions::recomputing(0));
        let predicted = autocast(Device::Cpu, Arithmetic::Bf16, forward).unwrap();
        assert_eq!(predicted.kind(), Kind::BFloat16);
        let loss = (predicted.to_kind(Kind::Float) - &x).square().mean(Kind::Float);
        engine.backward(&loss, true, &mut clock).unwrap();
        engine.update(i, lr, 1.0, &mut clock).unwrap();
    }
    [before, weights, engine.averages().into_iter().collect()]
}

#[test]
fn weights_keep_what_bfloat16_would_lose() {
    // Adam's steps are about as large as the learning rate: thousands of times below bfloat16's resolution of 1.
    let [before, after, averages] = train(3, 1e-6);
    let norm = "input_blocks.1.0.in_layers.0.weight";
    let moved = (&after[norm] - &before[norm]).abs().max().double_value(&[]);
    assert!(moved > 1e-7 && moved < 1e-5, "{moved}");
    assert_eq!(after[norm].to_kind(Kind::BFloat16), before[norm].to_kind(Kind::BFloat16));
    for (name, weight) in &after {
        assert_eq!(weight.kind(), Kind::Float, "{name}");
        assert_eq!(averages[name].kind(), Kind::Float, "{name}");
    }
    assert_ne!(averages[norm], before[norm]);
    assert_ne!(averages[norm], after[norm]);
}

#[test]
fn the_same_steps_give_the_same_bits() {
    let [[_, first, _], [_, second, _]] = [train(4, 1e-3), train(4, 1e-3)];
    assert_eq!(first, second);
}
