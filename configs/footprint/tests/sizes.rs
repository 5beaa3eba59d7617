//! Names and shapes of parameters, against those of the public implementations (`figures/parameters.json`: enumerated
//! from guided-diffusion and taming-transformers, for their published models and for small ones).

use std::collections::BTreeMap;
use std::path::Path;

use defusion_config::{
    ActivationCheckpointing, Config, DiscriminatorArch, Model, Precision, Resolved, Stage, TokenizerArch, UnetArch,
};
use defusion_footprint::{self as footprint, Network};
use serde_json::Value;

fn figures(name: &str) -> (Value, BTreeMap<String, Vec<u64>>) {
    let all: Value = serde_json::from_str(include_str!("figures/parameters.json")).unwrap();
    let parameters = serde_json::from_value(all[name]["parameters"].clone()).unwrap();
    (all[name]["config"].clone(), parameters)
}

/// Fails unless names and shapes are exactly those of the figures.
fn same(net: &Network, expected: BTreeMap<String, Vec<u64>>) {
    let ours: BTreeMap<_, _> = net.parameters.iter().map(|p| (p.name.clone(), p.shape.clone())).collect();
    assert_eq!(ours.len(), net.parameters.len(), "a name is used twice");
    assert_eq!(ours, expected);
    assert_eq!(net.count(), expected.values().map(|shape| shape.iter().product::<u64>()).sum::<u64>());
}

fn int(value: &Value) -> i64 {
    value.as_i64().unwrap()
}

fn ints(value: &Value) -> Vec<i64> {
    value.as_array().unwrap().iter().map(int).collect()
}

#[test]
fn the_default_unet_is_adm_256() {
    let net = footprint::unet(&UnetArch::default(), 256);
    assert_eq!(net.count(), 552_814_086);
    same(&net, figures("adm_256_uncond").1);
}

#[test]
fn small_unets_are_guided_diffusions() {
    for name in ["adm_unet_a", "adm_unet_b"] {
        let (c, expected) = figures(name);
        let arch = UnetArch {
            in_channels: int(&c["in_channels"]),
            model_channels: int(&c["model_channels"]),
            out_channels: int(&c["out_channels"]),
            num_res_blocks: int(&c["num_res_blocks"]),
            attention_downsamples: ints(&c["attention_resolutions"]),
            channel_mult: ints(&c["channel_mult"]),
            num_heads: int(&c["num_heads"]),
            num_head_channels: int(&c["num_head_channels"]),
            use_scale_shift_norm: c["use_scale_shift_norm"].as_bool().unwrap(),
            resblock_updown: c["resblock_updown"].as_bool().unwrap(),
            use_new_attention_order: c["use_new_attention_order"].as_bool().unwrap(),
            dropout: 0.0,
        };
        same(&footprint::unet(&arch, 32), expected);
    }
}

#[test]
fn the_default_tokenizer_is_vqgan_imagenet_f16_1024() {
    same(&footprint::tokenizer(&TokenizerArch::default(), 224), figures("vqgan_imagenet_f16_1024").1);
}

#[test]
fn a_small_tokenizer_is_tamings() {
    let (c, expected) = figures("vqgan");
    let d = &c["ddconfig"];
    let arch = TokenizerArch {
        ch: int(&d["ch"]),
        ch_mult: ints(&d["ch_mult"]),
        num_res_blocks: int(&d["num_res_blocks"]),
        // Taming names resolutions: 64 pixels over five levels end at 4.
        attn_levels: vec![4],
        z_channels: int(&d["z_channels"]),
        n_embed: int(&c["n_embed"]),
        embed_dim: int(&c["embed_dim"]),
        dropout: 0.0,
    };
    same(&footprint::tokenizer(&arch, 64), expected);
}

#[test]
fn a_small_discriminator_is_tamings() {
    let (c, expected) = figures("patchgan");
    let arch = DiscriminatorArch { ndf: int(&c["ndf"]), n_layers: int(&c["n_layers"]) };
    same(&footprint::discriminator(&arch, 64), expected);
}

/// Counted by hand: two levels of 1 and 2 channels with one light block each; one ResBlock, one strided ResBlock and
/// one ResBlock in the encoder and two in the middle, of 32 and then 64 channels; attention in the middle only.
#[test]
fn bridge_and_adapter_are_what_a_pencil_says() {
    let mut model = Model::default();
    model.unet = UnetArch {
        model_channels: 32,
        channel_mult: vec![1, 2],
        num_res_blocks: 1,
        attention_downsamples: vec![],
        ..model.unet
    };
    model.bridge.channels = vec![1, 2];
    model.bridge.num_res_blocks = 1;
    model.adapter.context_dim = 8;
    model.tokenizer.embed_dim = 4;
    let net = footprint::diffusion(&model, 32, 9);
    assert_eq!(net.count_under("unet."), footprint::unet(&model.unet, 32).count());
    let stem = (3 * 9 + 1) + (9 + 1) + (1 + 1);
    let down = (2 * 9 + 2) + (2 * 2 * 9 + 2) + (2 * 2 + 2);
    // The block at level 0 reads one channel; the others read level 1's two.
    let heads = (1 + 1) * 3 * 32 + (2 + 1) * 3 * (32 + 64 + 64 + 64);
    assert_eq!(net.count_under("bridge."), stem + down + heads);
    let (proj, positions, keys_and_values) = (4 * 8, 9 * 8, 2 * 8 * 64);
    assert_eq!(net.count_under("adapter."), proj + positions + keys_and_values);
    model.adapter.enabled = false;
    assert_eq!(footprint::diffusion(&model, 32, 9).count_under("adapter."), 0);
}

fn recipe(name: &str, changes: &[&str]) -> defusion_config::Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    let changes: Vec<_> = changes.iter().map(|c| c.parse().unwrap()).collect();
    Resolved::load(&path, &changes).unwrap_or_else(|e| panic!("{e}")).config
}

#[test]
fn a_checkpoint_holds_weights_average_and_both_moments() {
    let config = recipe("a100x8.yaml", &[]);
    let tokenizer = footprint::tokenizer(&config.model.tokenizer, 224).count();
    let discriminator = footprint::discriminator(&config.model.discriminator, 224).count();
    let diffusion = footprint::diffusion(&config.model, 256, 196).count();
    assert_eq!(footprint::checkpoint_bytes(&config, Stage::Tokenizer), 16 * tokenizer + 12 * discriminator);
    assert_eq!(footprint::checkpoint_bytes(&config, Stage::Diffusion), 16 * diffusion + 4 * tokenizer);
    assert_eq!(footprint::tokens(&config.model, 224), 196);
}

#[test]
fn memory_moves_with_what_it_is_made_of() {
    let memory = |changes: &[&str]| footprint::memory(&recipe("a100x8.yaml", changes), Stage::Diffusion);
    let whole = memory(&[]);
    assert_eq!(whole.gradients * 2, whole.optimizer);
    assert_eq!(whole.gradients, whole.casts * 2);
    assert_eq!(memory(&["diffusion.step.accumulation=2"]).activations * 2, whole.activations);
    assert_eq!(memory(&["diffusion.step.precision=fp32"]).casts, 0);
    let recomputed = memory(&["diffusion.step.activation_checkpointing=block"]);
    assert!(recomputed.activations * 2 < whole.activations, "{recomputed:?} {whole:?}");
    assert_eq!(recomputed.weights, whole.weights);
}

#[test]
fn recomputing_blocks_keeps_at_least_their_inputs() {
    let net = footprint::diffusion(&Model::default(), 256, 196);
    let of = |kept: &footprint::Kept| kept.bytes(2);
    let inputs: u64 = net.blocks.iter().map(|block| of(&block.input)).sum();
    let largest = net.blocks.iter().map(|block| of(&block.kept)).max().unwrap();
    assert!(of(&net.kept_outside_blocks) > 0 && largest > 0);
    assert!(of(&net.kept_outside_blocks) + inputs + largest < of(&net.kept));
    let config = recipe("a100x8.yaml", &[]);
    assert_eq!(config.diffusion.step.activation_checkpointing, ActivationCheckpointing::None);
    assert_eq!(config.diffusion.step.precision, Precision::Auto);
}

#[test]
fn a_budget_keeps_the_wide_blocks_and_as_much_as_fits() {
    let budget = |gib: f64| {
        let changes =
            ["diffusion.step.activation_checkpointing=budget".into(), format!("diffusion.step.activation_gib={gib}")];
        recipe("a100x8.yaml", &changes.each_ref().map(String::as_str))
    };
    let activations = |config: &Config| footprint::memory(config, Stage::Diffusion).activations;
    let below = |config: &Config| footprint::recompute_below_in(config, Stage::Diffusion);
    let (whole, blocks) =
        (recipe("a100x8.yaml", &[]), recipe("a100x8.yaml", &["diffusion.step.activation_checkpointing=block"]));
    assert_eq!((below(&whole), below(&blocks)), (0, u64::MAX));
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    let (most, least) = (gib(activations(&whole)), gib(activations(&blocks)));

    assert_eq!(below(&budget(most + 0.1)), 0);
    // A budget that nothing fits is met as nearly as can be.
    assert_eq!(below(&budget(least / 2.0)), u64::MAX);
    let mut before = 0;
    for share in [0.9, 0.7, 0.5, 0.3] {
        let limit = least + share * (most - least);
        let config = budget(limit);
        assert!(gib(activations(&config)) <= limit, "{share}: {} of {limit}", gib(activations(&config)));
        assert!(below(&config) >= before && below(&config) < u64::MAX, "{share}");
        before = below(&config);
    }
    assert!(before > 0);
}

#[test]
fn a_budget_without_a_size_is_refused() {
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../a100x8.yaml");
    let error = Resolved::load(&recipe, &["diffusion.step.activation_checkpointing=budget".parse().unwrap()]);
    assert!(error.unwrap_err().to_string().contains("diffusion.step.activation_gib"));
}
