//! The full-size networks have the names and shapes of the public checkpoints.

use defusion_config::{TokenizerArch, UnetArch};
use defusion_trainer::model::tokenizer::Tokenizer;
use defusion_trainer::model::unet::Unet;
use tch::Device;
use tch::nn::VarStore;

use crate::golden::{parameters, path, shapes};

fn public(file: &str) -> std::collections::BTreeMap<String, Vec<i64>> {
    parameters(&std::fs::read_to_string(path(file)).unwrap()).into_iter().collect()
}

#[test]
fn adm_256_unconditional() {
    let store = VarStore::new(Device::Cpu);
    Unet::new(&store.root(), &UnetArch::default());
    let shapes = shapes(&store);
    assert_eq!(shapes, public("adm_256_uncond.keys.json"));
    assert_eq!(shapes.values().map(|shape| shape.iter().product::<i64>()).sum::<i64>(), 552_814_086);
}

#[test]
fn vqgan_imagenet_f16_1024() {
    let store = VarStore::new(Device::Cpu);
    Tokenizer::new(&store.root(), &TokenizerArch::default());
    assert_eq!(shapes(&store), public("vqgan_imagenet_f16_1024.keys.json"));
}
