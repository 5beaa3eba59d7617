//! LPIPS against the figures of the `lpips` package. The tests need its weights: run `scripts/lpips-weights`, or name
//! their folder in `DEFUSION_LPIPS`.

use std::path::PathBuf;

use defusion_model::networks::lpips::Lpips;
use safetensors::SafeTensors;
use tch::{Device, Kind, Tensor};

/// Reads the weights of `net`, `alexnet` or `vgg16`.
fn load(net: &str) -> Lpips {
    let folder = std::env::var_os("DEFUSION_LPIPS")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.deps/lpips")), PathBuf::from);
    let file = folder.join(format!("{net}.safetensors"));
    match net {
        "alexnet" => Lpips::alex(file, Device::Cpu),
        _ => Lpips::vgg16(file, Device::Cpu),
    }
    .expect("run scripts/lpips-weights")
}

/// Returns the golden pairs as `[1, 3, H, W]` in [-1, 1], each with its expected value of `figure`.
fn pairs(figure: &str) -> Vec<(Tensor, Tensor, f64)> {
    let golden: Vec<serde_json::Value> = serde_json::from_slice(include_bytes!("goldens/metrics.json")).unwrap();
    let tensors = SafeTensors::deserialize(include_bytes!("goldens/metrics.safetensors")).unwrap();
    let image = |name: String| {
        let t = tensors.tensor(&name).unwrap();
        let size = [t.shape()[0] as i64, t.shape()[1] as i64, 3];
        let hwc = Tensor::from_data_size(t.data(), &size, Kind::Uint8).to_kind(Kind::Float);
        hwc.permute([2, 0, 1]).unsqueeze(0).contiguous() / 127.5 - 1.0
    };
    golden
        .iter()
        .enumerate()
        .map(|(i, g)| (image(format!("{i}.distorted")), image(format!("{i}.reference")), g[figure].as_f64().unwrap()))
        .collect()
}

#[test]
#[ignore = "needs the weights of scripts/lpips-weights"]
fn oracle_lpips_gives_the_reference_figures() {
    for (net, figure) in [("alexnet", "lpips_alex"), ("vgg16", "lpips_vgg")] {
        let lpips = load(net);
        for (x, y, want) in pairs(figure) {
            let got = lpips.forward(&x, &y).double_value(&[0]);
            assert!((got - want).abs() < 1e-5, "{figure}: {got} is not {want}");
            assert_eq!(lpips.forward(&x, &x).double_value(&[0]), 0.0);
        }
    }
}

#[test]
#[ignore = "needs the weights of scripts/lpips-weights"]
fn oracle_lpips_is_a_loss() {
    let lpips = load("vgg16");
    let (x, y, _) = pairs("lpips_vgg").remove(1);
    let (x, y) = (Tensor::cat(&[&x, &y], 0), Tensor::cat(&[&y, &y], 0));
    let x = x.set_requires_grad(true);
    let distance = lpips.forward(&x, &y);
    assert_eq!(distance.size(), [2]);
    distance.sum(Kind::Float).backward();
    let gradient = x.grad();
    assert!(bool::try_from(gradient.isfinite().all()).unwrap());
    // A step against the gradient comes nearer; equal images have no gradient.
    assert_eq!(gradient.get(1).abs().max().double_value(&[]), 0.0);
    let moved = &x - &gradient * 0.5;
    assert!(lpips.forward(&moved, &y).double_value(&[0]) < distance.double_value(&[0]));
}

#[test]
#[ignore = "needs the weights of scripts/lpips-weights"]
fn oracle_lpips_gradient_of_a_flat_image_is_finite() {
    let lpips = load("vgg16");
    let x = Tensor::zeros([1, 3, 64, 64], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    lpips.forward(&x, &(&x.detach() + 0.1)).sum(Kind::Float).backward();
    assert!(bool::try_from(x.grad().isfinite().all()).unwrap());
}
