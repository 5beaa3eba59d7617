//! Public checkpoints: the full-size networks have their names and shapes, and their files import.

use std::collections::BTreeMap;
use std::path::PathBuf;

use defusion_config::{DiscriminatorArch, Model, TokenizerArch, UnetArch};
use defusion_model::import::{self, ImportError};
use defusion_model::networks::defusion::DefusionUnet;
use defusion_model::networks::discriminator::Discriminator;
use defusion_model::networks::tokenizer::Tokenizer;
use defusion_model::networks::unet::Unet;
use defusion_model::weights;
use tch::nn::{Path, VarStore};
use tch::{Device, Kind, Tensor};

use super::golden::{parameters, path, shapes};

fn public(file: &str) -> BTreeMap<String, Vec<i64>> {
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

/// Small networks of the public ones' structure.
fn small(out_channels: i64) -> Model {
    let mut model = Model::default();
    model.tokenizer = TokenizerArch { ch: 32, z_channels: 32, n_embed: 16, embed_dim: 32, ..model.tokenizer };
    model.discriminator = DiscriminatorArch { ndf: 8, n_layers: 2 };
    model.unet.model_channels = 32;
    model.unet.num_head_channels = 16;
    model.unet.out_channels = out_channels;
    model.bridge.channels = vec![4; 6];
    model.adapter.context_dim = 8;
    model
}

fn store(build: impl FnOnce(&Path<'_>)) -> VarStore {
    let store = VarStore::new(Device::Cpu);
    build(&store.root());
    store
}

fn defusion(out_channels: i64) -> VarStore {
    store(|path| drop(DefusionUnet::new(path, &small(out_channels), 4)))
}

/// A folder, and in it a file of what a network holds, renamed.
fn saved(store: &VarStore, rename: impl Fn(&str) -> Option<String>) -> (tempfile::TempDir, PathBuf) {
    let tensors = store.variables().into_iter().filter_map(|(name, v)| Some((rename(&name)?, v.detach())));
    write(tensors.collect())
}

fn write(tensors: BTreeMap<String, Tensor>) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("public.safetensors");
    weights::write(&file, &tensors, &BTreeMap::new()).unwrap();
    (folder, file)
}

#[test]
fn a_unet_with_a_variance_head_imports_into_one_without() {
    let source = defusion(6);
    let (_folder, file) = saved(&source, |name| Some(format!("model.{}", name.strip_prefix("unet.")?)));
    let target = defusion(3);
    let (before, source) = (copies(&target), source.variables());
    import::unet(&target, &file).unwrap();
    for (name, value) in target.variables() {
        if name.starts_with("unet.") {
            assert_eq!(value, source[&name].narrow(0, 0, value.size()[0]), "{name}");
        } else {
            assert_eq!(value, before[&name], "{name} is none of the file's");
        }
    }

    let same = defusion(6);
    import::unet(&same, &file).unwrap();
    assert_eq!(same.variables()["unet.out.2.weight"], source["unet.out.2.weight"]);
}

fn copies(store: &VarStore) -> BTreeMap<String, Tensor> {
    store.variables().into_iter().map(|(name, value)| (name, value.detach().copy())).collect()
}

#[test]
fn a_mismatch_lists_every_key_and_changes_nothing() {
    let source = defusion(3);
    let (_folder, file) = saved(&source, |name| {
        let name = name.strip_prefix("unet.")?;
        match name {
            "time_embed.0.bias" => None,
            "middle_block.0.in_layers.0.bias" => Some("label_emb.weight".into()),
            _ => Some(name.to_owned()),
        }
    });
    let target = defusion(6);
    let before = copies(&target);
    let error = import::unet(&target, &file).unwrap_err();
    let ImportError::Mismatch { mismatch, .. } = &error else { panic!("{error}") };
    assert_eq!(mismatch.missing, ["middle_block.0.in_layers.0.bias", "time_embed.0.bias"]);
    assert_eq!(mismatch.unexpected, ["label_emb.weight"]);
    let misshaped: Vec<&str> = mismatch.misshaped.iter().map(|(key, ..)| key.as_str()).collect();
    assert_eq!(misshaped, ["out.2.bias", "out.2.weight"]);
    let text = error.to_string();
    for part in ["public.safetensors", "U-Net", "2 missing", "label_emb.weight", "out.2.bias is [3], not [6]"] {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
    assert_eq!(before, copies(&target));
}

#[test]
fn a_taming_checkpoint_brings_its_discriminator() {
    let model = small(3);
    let autoencoder = || store(|path| drop(Tokenizer::new(path, &model.tokenizer)));
    let discriminator = || store(|path| drop(Discriminator::new(path, &model.discriminator)));
    let (source, source_discriminator) = (autoencoder(), discriminator());
    let _ = source_discriminator.variables()["main.3.running_mean"].shallow_clone().fill_(0.5);

    let mut tensors = BTreeMap::new();
    tensors.extend(copies(&source).into_iter().map(|(name, v)| (format!("state_dict.{name}"), v)));
    let losses = copies(&source_discriminator).into_iter();
    tensors.extend(losses.map(|(name, v)| (format!("state_dict.loss.discriminator.{name}"), v)));
    let count = Tensor::from_slice(&[7i64]);
    tensors.insert("state_dict.loss.discriminator.main.3.num_batches_tracked".into(), count);
    let lpips = Tensor::zeros([1, 64, 1, 1], (Kind::Float, Device::Cpu));
    tensors.insert("state_dict.loss.perceptual_loss.lin0.model.1.weight".into(), lpips);
    let (_folder, file) = write(tensors);

    let (target, target_discriminator) = (autoencoder(), discriminator());
    assert!(import::tokenizer(&target, Some(&target_discriminator), &file).unwrap());
    assert_eq!(copies(&target), copies(&source));
    assert_eq!(copies(&target_discriminator), copies(&source_discriminator));

    let (_folder, file) = saved(&source, |name| Some(name.to_owned()));
    let fresh = discriminator();
    let before = copies(&fresh);
    assert!(!import::tokenizer(&autoencoder(), Some(&fresh), &file).unwrap());
    assert_eq!(copies(&fresh), before);
}
