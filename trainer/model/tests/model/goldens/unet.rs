//! guided-diffusion's U-Net.

use defusion_config::UnetArch;
use defusion_model::networks::ForwardOptions;
use defusion_model::networks::unet::{Conditions, Unet};
use serde_json::Value;
use tch::nn::VarStore;
use tch::{Device, Tensor};

use super::golden::{Golden, assert_agrees, channels_last, error, fill};

/// Returns the reference's configuration as ours, which calls its `attention_resolutions` what they are: factors.
pub fn arch(config: &Value) -> UnetArch {
    let mut config = config.as_object().unwrap().clone();
    config.remove("image_size");
    let attention = config.remove("attention_resolutions").unwrap();
    config.insert("attention_downsamples".into(), attention);
    serde_json::from_value(config.into()).unwrap()
}

fn filled(golden: &Golden) -> (VarStore, Unet) {
    let store = VarStore::new(Device::Cpu);
    let unet = Unet::new(&store.root(), &arch(&golden.config));
    fill(&store, &golden.parameters);
    (store, unet)
}

fn forward(unet: &Unet, x: &Tensor, t: &Tensor) -> Tensor {
    unet.forward(x, t, &Conditions::default(), &ForwardOptions::EVAL)
}

fn check(file: &str) {
    let golden = Golden::open(file);
    let (store, unet) = filled(&golden);
    let y = forward(&unet, golden.get("in.x"), golden.get("in.t"));
    assert_agrees(&format!("{file} out.y"), &y, golden.get("out.y"));

    (y * golden.get("in.w")).sum(None::<tch::Kind>).backward();
    let variables = store.variables();
    for name in ["input_blocks.0.0.weight", "middle_block.1.qkv.weight", "out.2.weight", "time_embed.0.weight"] {
        assert_agrees(&format!("{file} grad {name}"), &variables[name].grad(), golden.get(&format!("grad.{name}")));
    }
    let norms = golden.f64s("grad_norms");
    assert_eq!(norms.len(), golden.parameters.len());
    // The gradient of a bias right before a GroupNorm of one channel per group is zero but for rounding.
    let rounding = 1e-5 * norms.iter().copied().fold(0.0, f64::max);
    let mut worst = (0.0, "");
    for ((name, _), expected) in golden.parameters.iter().zip(norms) {
        let actual = variables[name].grad().to_kind(tch::Kind::Double).norm().double_value(&[]);
        if name.ends_with("bias") && expected < rounding {
            assert!(actual < rounding, "the gradient of {name} should vanish, its norm is {actual:.1e}");
            continue;
        }
        let error = (actual - expected).abs() / expected;
        if error > worst.0 {
            worst = (error, name);
        }
    }
    println!("{file} grad_norms: {:.1e} ({})", worst.0, worst.1);
    assert!(worst.0 < 1e-4, "the norm of the gradient of {} is off by {:.1e}", worst.1, worst.0);
}

#[test]
fn resblock_updown_legacy_qkv_head_channels() {
    check("adm_unet_a.safetensors");
}

#[test]
fn convolution_updown_new_qkv_heads_variance() {
    check("adm_unet_b.safetensors");
}

#[test]
fn channels_last_and_float_timesteps_change_nothing() {
    for file in ["adm_unet_a.safetensors", "adm_unet_b.safetensors"] {
        let golden = Golden::open(file);
        let (_store, unet) = filled(&golden);
        let x = channels_last(golden.get("in.x"));
        let y = forward(&unet, &x, &golden.get("in.t").to_kind(tch::Kind::Float));
        assert_agrees(&format!("{file} channels-last"), &y, golden.get("out.y"));
        assert!(error(&(&y + 0.1), golden.get("out.y")) > 1e-4, "the comparison sees nothing");
        assert_eq!(y.stride()[1], 1, "the output is not channels-last");
    }
}
