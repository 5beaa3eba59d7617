//! taming-transformers' VQGAN.

use defusion_config::{Arithmetic, CodebookLoss, TokenizerArch};
use defusion_model::networks::ForwardOptions;
use defusion_model::networks::tokenizer::{Tokenizer, zero_share};
use defusion_torch::autocast;
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

use super::golden::{Golden, assert_agrees, channels_last, fill};

fn filled(golden: &Golden) -> (VarStore, Tokenizer) {
    let dd = &golden.config["ddconfig"];
    let arch = TokenizerArch {
        ch: dd["ch"].as_i64().unwrap(),
        ch_mult: serde_json::from_value(dd["ch_mult"].clone()).unwrap(),
        num_res_blocks: dd["num_res_blocks"].as_i64().unwrap(),
        attn_levels: vec![4], // at resolution 64, level 4 is taming's attn_resolutions [4]
        z_channels: dd["z_channels"].as_i64().unwrap(),
        n_embed: golden.config["n_embed"].as_i64().unwrap(),
        embed_dim: golden.config["embed_dim"].as_i64().unwrap(),
        dropout: 0.0,
    };
    let store = VarStore::new(Device::Cpu);
    let tokenizer = Tokenizer::new(&store.root(), &arch);
    fill(&store, &golden.parameters);
    (store, tokenizer)
}

#[test]
fn encode_quantize_decode() {
    let golden = Golden::open("vqgan.safetensors");
    let (_store, tokenizer) = filled(&golden);
    for x in [golden.get("in.x").shallow_clone(), channels_last(golden.get("in.x"))] {
        let e = tokenizer.encode(&x, &ForwardOptions::EVAL);
        assert_agrees("vqgan e", &e, golden.get("out.e"));
        let quantized = tokenizer.quantize(&e, CodebookLoss::Legacy);
        assert_eq!(&quantized.indices, golden.get("out.indices"));
        assert_agrees("vqgan z", &quantized.z_q, golden.get("out.z"));
        let x_rec = tokenizer.decode(&quantized.z_q, &ForwardOptions::EVAL);
        assert_agrees("vqgan x_rec", &x_rec, golden.get("out.x_rec"));
    }
}

#[test]
fn both_codebook_losses_and_their_gradients() {
    let golden = Golden::open("vqgan.safetensors");
    for (name, loss) in [("legacy", CodebookLoss::Legacy), ("corrected", CodebookLoss::Corrected)] {
        let (store, tokenizer) = filled(&golden);
        let x = golden.get("in.x");
        let quantized = tokenizer.quantize(&tokenizer.encode(x, &ForwardOptions::EVAL), loss);
        assert_agrees(&format!("{name} codebook"), &quantized.loss, golden.get(&format!("{name}.codebook_loss")));
        let x_rec = tokenizer.decode(&quantized.z_q, &ForwardOptions::EVAL);
        let loss = (x_rec - x).square().mean(None::<Kind>) + quantized.loss;
        assert_agrees(&format!("{name} loss"), &loss, golden.get(&format!("{name}.loss")));
        loss.backward();
        let variables = store.variables();
        for parameter in [
            "decoder.conv_out.weight",
            "encoder.conv_in.weight",
            "encoder.mid.attn_1.q.weight",
            "quantize.embedding.weight",
        ] {
            let expected = golden.get(&format!("{name}.grad.{parameter}"));
            assert_agrees(&format!("{name} grad {parameter}"), &variables[parameter].grad(), expected);
        }
        assert_eq!(tokenizer.last_layer().grad(), variables["decoder.conv_out.weight"].grad());
    }
}

#[test]
fn residual_tokens_are_differences_of_codes_row_by_row() {
    let golden = Golden::open("vqgan.safetensors");
    let (store, tokenizer) = filled(&golden);
    let v = golden.get("in.x");
    let null = v.flip([0]);
    let tokens = tokenizer.residual_tokens(v, &null, false);
    assert_eq!(tokens.size(), [2, 16, 32]);
    assert!(!tokens.requires_grad());

    let codebook = &store.variables()["quantize.embedding.weight"];
    let index = |image: i64, row: i64, column: i64| golden.get("out.indices").int64_value(&[image, row, column]);
    for (image, other) in [(0, 1), (1, 0)] {
        for (row, column) in [(0, 0), (0, 3), (1, 0), (3, 2)] {
            let expected = codebook.get(index(image, row, column)) - codebook.get(index(other, row, column));
            assert_eq!(tokens.get(image).get(4 * row + column), expected.detach(), "row {row}, column {column}");
        }
    }

    let e = golden.get("out.e");
    let before = (e - e.flip([0])).permute([0, 2, 3, 1]).flatten(1, 2);
    assert_agrees("residual before quantisation", &tokenizer.residual_tokens(v, &null, true), &before);
}

#[test]
fn equal_codes_give_tokens_of_exactly_zero() {
    let golden = Golden::open("vqgan.safetensors");
    let (_store, tokenizer) = filled(&golden);
    let v = golden.get("in.x");
    let tokens = tokenizer.residual_tokens(v, v, false);
    assert_eq!(tokens, Tensor::zeros_like(&tokens));
    assert_eq!(zero_share(&tokens).double_value(&[]), 1.0);

    let null = Tensor::cat(&[v.narrow(0, 0, 1), v.narrow(0, 0, 1)], 0);
    let tokens = tokenizer.residual_tokens(v, &null, false);
    let indices = golden.get("out.indices");
    let equal = indices.get(0).eq_tensor(&indices.get(1)).to_kind(Kind::Float).mean(None::<Kind>).double_value(&[]);
    assert_eq!(zero_share(&tokens).double_value(&[]), (1.0 + equal) / 2.0);
}

#[test]
fn bfloat16_autocast_and_recomputed_blocks_train() {
    let golden = Golden::open("vqgan.safetensors");
    let x = golden.get("in.x");
    let options = ForwardOptions::recomputing(u64::MAX);
    let run = |precision| {
        let (store, tokenizer) = filled(&golden);
        let loss = autocast(Device::Cpu, precision, || {
            let quantized = tokenizer.quantize(&tokenizer.encode(x, &options), CodebookLoss::Legacy);
            let x_rec = tokenizer.decode(&quantized.z_q, &options).to_kind(Kind::Float);
            (x_rec - x).square().mean(None::<Kind>) + quantized.loss
        });
        loss.unwrap().backward();
        store.variables()["encoder.conv_in.weight"].grad()
    };
    let expected = golden.get("legacy.grad.encoder.conv_in.weight");
    assert_agrees("recomputed", &run(Arithmetic::Fp32), expected);
    let bf16 = run(Arithmetic::Bf16);
    let cosine = (&bf16 * expected).sum(None::<Kind>) / (bf16.norm() * expected.norm());
    // Nearest codes can change, and with them the gradient.
    assert!(cosine.double_value(&[]) > 0.5, "the gradient points elsewhere: cosine {}", cosine.double_value(&[]));
}

#[test]
fn autocast_does_not_change_which_code_is_nearest() {
    let golden = Golden::open("vqgan.safetensors");
    let (_store, tokenizer) = filled(&golden);
    let quantize = || tokenizer.quantize(golden.get("out.e"), CodebookLoss::Legacy).indices;
    assert_eq!(&autocast(Device::Cpu, Arithmetic::Bf16, quantize).unwrap(), golden.get("out.indices"));
}
