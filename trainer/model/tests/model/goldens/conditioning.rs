//! What the bridge and the adapter do to a pretrained U-Net, whose output without them is known.

use std::collections::HashMap;

use defusion_config::{AdapterArch, Arithmetic, BridgeArch, Model};
use defusion_model::networks::ForwardOptions;
use defusion_model::networks::defusion::DefusionUnet;
use defusion_torch::autocast;
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

use super::golden::{Golden, assert_agrees, channels_last, error, fill_under};
use super::unet::arch;

/// Channels of the pyramid's levels.
const LEVELS: [i64; 3] = [8, 12, 16];
/// Dimension of a token.
const EMBED: i64 = 16;
/// Tokens of an instruction.
const TOKENS: i64 = 9;

fn model(golden: &Golden) -> Model {
    let mut model = Model { unet: arch(&golden.config), ..Model::default() };
    model.bridge = BridgeArch { channels: LEVELS.to_vec(), num_res_blocks: 2 };
    model.adapter = AdapterArch { context_dim: 24, ..AdapterArch::default() };
    model.tokenizer.embed_dim = EMBED;
    model
}

/// The public U-Net of the goldens, with bridge and adapter.
struct Net {
    golden: Golden,
    store: VarStore,
    net: DefusionUnet,
}

impl Net {
    fn fresh(change: impl FnOnce(&mut Model)) -> Self {
        let golden = Golden::open("adm_unet_a.safetensors");
        let mut model = model(&golden);
        change(&mut model);
        let store = VarStore::new(Device::Cpu);
        let net = DefusionUnet::new(&store.root(), &model, TOKENS);
        fill_under(&store, "unet.");
        Self { golden, store, net }
    }

    /// The same with values other than zero everywhere in bridge and adapter.
    fn trained(change: impl FnOnce(&mut Model)) -> Self {
        let net = Self::fresh(change);
        fill_under(&net.store, "bridge.");
        fill_under(&net.store, "adapter.");
        net
    }

    fn forward(&self, lq: &Tensor, tokens: Option<&Tensor>) -> Tensor {
        self.net.forward(self.golden.get("in.x"), self.golden.get("in.t"), lq, tokens, &ForwardOptions::EVAL)
    }

    /// The golden output: that of the U-Net alone.
    fn plain(&self) -> &Tensor {
        self.golden.get("out.y")
    }

    /// An image x_LQ, `[2, 3, 32, 32]` in [-1, 1].
    fn lq(&self) -> Tensor {
        self.golden.get("in.w").tanh()
    }

    fn variables(&self) -> HashMap<String, Tensor> {
        self.store.variables()
    }

    fn edit(&self, name: &str, edit: impl FnOnce(&Tensor) -> Tensor) {
        let mut variable = self.variables()[name].shallow_clone();
        tch::no_grad(|| {
            let value = edit(&variable);
            variable.copy_(&value);
        });
    }
}

fn tokens(n: i64) -> Tensor {
    (Tensor::arange(2 * n * EMBED, (Kind::Float, Device::Cpu)) * 0.7).sin().reshape([2, n, EMBED])
}

#[test]
fn a_fresh_bridge_and_adapter_leave_the_pretrained_unet_as_it_was() {
    let net = Net::fresh(|_| ());
    let alone = net.forward(&net.lq().zeros_like(), None);
    assert_agrees("alone", &alone, net.plain());
    let instructed = net.forward(&net.lq(), Some(&tokens(TOKENS)));
    assert_eq!(instructed, alone);
}

#[test]
fn image_and_instruction_matter_once_trained() {
    let net = Net::trained(|_| ());
    let out = net.forward(&net.lq(), Some(&tokens(TOKENS)));
    assert!(error(&net.forward(&net.lq().zeros_like(), Some(&tokens(TOKENS))), &out) > 1e-2);
    assert!(error(&net.forward(&net.lq(), Some(&(tokens(TOKENS) * 2))), &out) > 1e-3);
    let channels_last = net.forward(&channels_last(&net.lq()), Some(&tokens(TOKENS)));
    assert_agrees("channels-last", &channels_last, &out);
}

#[test]
fn every_parameter_has_a_gradient() {
    let net = Net::trained(|_| ());
    net.forward(&net.lq(), Some(&tokens(TOKENS))).square().mean(None::<Kind>).backward();
    for (name, variable) in net.variables() {
        assert!(variable.grad().defined(), "{name} has none");
    }
}

#[test]
fn tokens_of_zero_are_no_instruction() {
    let net = Net::trained(|_| ());
    let zero = Tensor::zeros_like(&tokens(TOKENS));
    assert_eq!(net.forward(&net.lq(), Some(&zero)), net.forward(&net.lq(), None));
}

/// The U-Net's ResBlocks in the order of the bridge's heads: all of the encoder and the middle.
const BRIDGED: [&str; 10] = [
    "input_blocks.1.0",
    "input_blocks.2.0",
    "input_blocks.3.0",
    "input_blocks.4.0",
    "input_blocks.5.0",
    "input_blocks.6.0",
    "input_blocks.7.0",
    "input_blocks.8.0",
    "middle_block.0",
    "middle_block.2",
];

#[test]
fn the_bridge_reads_the_level_of_each_blocks_size() {
    let net = Net::fresh(|_| ());
    let shape = |i: usize| net.variables()[&format!("bridge.heads.{i}.weight")].size();
    // Blocks 3 and 6 halve the size: they belong to the coarser level.
    let levels = [0, 0, 1, 1, 1, 2, 2, 2, 2, 2];
    let widths = [32, 32, 32, 64, 64, 64, 64, 64, 64, 64];
    for (i, (level, width)) in levels.into_iter().zip(widths).enumerate() {
        assert_eq!(shape(i), [3 * width, LEVELS[level], 1, 1], "head {i}");
    }
    assert!(!net.variables().contains_key("bridge.heads.10.weight"), "the decoder is left alone");
}

#[test]
fn a_gate_of_minus_one_erases_the_branches_of_encoder_and_middle_only() {
    let erased = Net::fresh(|_| ());
    for (i, block) in BRIDGED.iter().enumerate() {
        erased.edit(&format!("bridge.heads.{i}.bias"), |bias| {
            let third = bias.size()[0] / 3;
            Tensor::cat(&[bias.narrow(0, 0, 2 * third), bias.narrow(0, 2 * third, third) - 1], 0)
        });
        erased.edit(&format!("unet.{block}.out_layers.3.weight"), |weight| weight * 5);
    }
    let expected = Net::fresh(|_| ());
    for block in BRIDGED {
        expected.edit(&format!("unet.{block}.out_layers.3.weight"), Tensor::zeros_like);
        expected.edit(&format!("unet.{block}.out_layers.3.bias"), Tensor::zeros_like);
    }
    let expected = expected.forward(&erased.lq(), None);
    assert!(error(&expected, erased.plain()) > 1e-2, "the branches matter");
    assert_agrees("erased branches", &erased.forward(&erased.lq(), None), &expected);
}

#[test]
fn scale_and_shift_come_after_the_times() {
    let (scale, shift) = (0.3, -0.2);
    let bridged = Net::fresh(|_| ());
    for i in 0..BRIDGED.len() {
        bridged.edit(&format!("bridge.heads.{i}.bias"), |bias| {
            let third = bias.size()[0] / 3;
            let part = |value: f64| Tensor::full([third], value, (Kind::Float, Device::Cpu));
            Tensor::cat(&[part(scale), part(shift), part(0.0)], 0)
        });
    }
    // norm * (1 + s_t) + b_t, then * (1 + scale) + shift, written into norm and time embedding.
    let expected = Net::fresh(|_| ());
    for block in BRIDGED {
        for name in ["out_layers.0.weight", "out_layers.0.bias"] {
            expected.edit(&format!("unet.{block}.{name}"), |norm| norm * (1.0 + scale));
        }
        for (name, added) in [("weight", 0.0), ("bias", shift)] {
            expected.edit(&format!("unet.{block}.emb_layers.1.{name}"), |emb| {
                let halves = emb.chunk(2, 0);
                Tensor::cat(&[halves[0].shallow_clone(), &halves[1] * (1.0 + scale) + added], 0)
            });
        }
    }
    let expected = expected.forward(&bridged.lq(), None);
    assert!(error(&expected, bridged.plain()) > 1e-2, "the modulation matters");
    assert_agrees("modulated", &bridged.forward(&bridged.lq(), None), &expected);
}

#[test]
fn one_token_adds_its_value_whatever_the_image_holds() {
    // A softmax of its own gives a single token weight 1: its value is added to every pixel's attention.
    let scale = 0.5;
    let change = |model: &mut Model| {
        model.adapter.scale = scale;
        model.adapter.key_positions = false;
    };
    let net = Net::trained(change);
    let token = tokens(1).narrow(0, 0, 1);
    let out = net.forward(&net.lq(), Some(&token.expand([2, 1, EMBED], false)));

    let expected = Net::trained(change);
    let context = token.reshape([EMBED, 1]);
    let context = net.variables()["adapter.proj.weight"].matmul(&context);
    let blocks = ["input_blocks.4.1", "input_blocks.5.1", "input_blocks.7.1", "input_blocks.8.1", "middle_block.1"];
    let decoder = (0..6).map(|i| format!("output_blocks.{i}.1"));
    for (i, block) in blocks.map(String::from).into_iter().chain(decoder).enumerate() {
        let value = net.variables()[&format!("adapter.attn.{i}.to_v_ip.weight")].matmul(&context) * scale;
        let proj = net.variables()[&format!("unet.{block}.proj_out.weight")].squeeze_dim(2);
        expected.edit(&format!("unet.{block}.proj_out.bias"), |bias| bias + proj.matmul(&value).squeeze_dim(1));
    }
    assert!(!net.variables().contains_key("adapter.attn.11.to_v_ip.weight"));
    let expected = expected.forward(&net.lq(), None);
    assert!(error(&expected, &net.forward(&net.lq(), None)) > 1e-3, "the token matters");
    assert_agrees("one token", &out, &expected);
}

#[test]
fn positions_tell_tokens_apart() {
    for (key_positions, differs) in [(true, true), (false, false)] {
        let net = Net::trained(|model| model.adapter.key_positions = key_positions);
        let out = net.forward(&net.lq(), Some(&tokens(TOKENS)));
        let reversed = net.forward(&net.lq(), Some(&tokens(TOKENS).flip([1])));
        assert_eq!(error(&reversed, &out) > 1e-4, differs, "key_positions: {key_positions}");
    }
}

#[test]
fn without_an_adapter_tokens_are_ignored() {
    let net = Net::trained(|model| model.adapter.enabled = false);
    assert!(!net.variables().keys().any(|name| name.starts_with("adapter")));
    assert_eq!(net.forward(&net.lq(), Some(&tokens(TOKENS))), net.forward(&net.lq(), None));
}

/// Gradients of everything trainable, by name.
fn gradients(net: &Net, options: &ForwardOptions) -> HashMap<String, Tensor> {
    let (x, t) = (net.golden.get("in.x"), net.golden.get("in.t"));
    let out = net.net.forward(x, t, &net.lq(), Some(&tokens(TOKENS)), options);
    (out * net.golden.get("in.w")).sum(None::<Kind>).backward();
    net.variables().into_iter().map(|(name, variable)| (name, variable.grad())).collect()
}

#[test]
fn recomputed_blocks_give_the_same_gradients() {
    let kept = gradients(&Net::trained(|_| ()), &ForwardOptions::recomputing(0));
    // The narrow ones, as a budget would have it, then all.
    for width in [33, u64::MAX] {
        let recomputed = gradients(&Net::trained(|_| ()), &ForwardOptions::recomputing(width));
        assert_eq!(kept.len(), recomputed.len());
        for (name, expected) in &kept {
            let error = error(&recomputed[name], expected);
            assert!(error < 1e-5 || expected.abs().max().double_value(&[]) < 1e-3, "{name} is off by {error:.1e}");
        }
    }
}

#[test]
fn bfloat16_autocast_stays_near_float32() {
    for width in [0, u64::MAX] {
        let net = Net::trained(|_| ());
        let expected = net.forward(&net.lq(), Some(&tokens(TOKENS)));
        let options = ForwardOptions::recomputing(width);
        let (x, t) = (net.golden.get("in.x"), net.golden.get("in.t"));
        let forward = || net.net.forward(x, t, &net.lq(), Some(&tokens(TOKENS)), &options);
        let out = autocast(Device::Cpu, Arithmetic::Bf16, forward).unwrap();
        assert_eq!(out.kind(), Kind::BFloat16);
        let off = error(&out.detach(), &expected);
        println!("bfloat16: {off:.1e}");
        assert!(off > 1e-5 && off < 5e-2, "bfloat16 is off by {off:.1e}");
        out.to_kind(Kind::Float).square().mean(None::<Kind>).backward();
        for (name, variable) in net.variables() {
            assert_eq!(variable.grad().kind(), Kind::Float, "{name}");
            assert!(bool::try_from(variable.grad().isfinite().all()).unwrap(), "{name}");
        }
    }
}
