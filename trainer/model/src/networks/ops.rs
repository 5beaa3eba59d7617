//! Pure tensor functions that several networks share. None of them has parameters, and none knows a network.
//!
//! Maps are `[B, C, H, W]` in either memory format, tokens `[B, T, C]`.

use defusion_torch as torch;
use tch::{Device, Kind, Tensor};

/// Returns the tokens `[B, H*W, C]`, row-major, of a map `[B, C, H, W]`. A view, and contiguous if the map is
/// channels-last.
pub(crate) fn to_tokens(map: &Tensor) -> Tensor {
    map.flatten(2, 3).transpose(1, 2)
}

/// Returns tokens `[B, H*W, C]` as a map `[B, C, H, W]` of the height and width of `like`. A view, and channels-last if
/// the tokens are contiguous.
pub(crate) fn to_map(tokens: &Tensor, like: &Tensor) -> Tensor {
    let (_, _, h, w) = like.size4().expect("a feature map has four dimensions");
    tokens.transpose(1, 2).unflatten(2, [h, w])
}

/// Attention, softmax(Q K^T / sqrt(d)) V: `q` `[B, heads, T, d]` and `k`, `v` `[B, heads, S, d]` to `[B, heads, T, d]`.
///
/// It runs through a fused kernel: this project's own on CPUs, where libtorch's is slow, and libtorch's elsewhere.
///
/// # Panics
/// If libtorch fails, like every operation of tch.
pub(crate) fn attend(q: &Tensor, k: &Tensor, v: &Tensor) -> Tensor {
    match torch::attention(q, k, v) {
        Ok(Some(out)) => return out,
        Ok(None) => {}
        Err(error) => panic!("{error}"),
    }
    Tensor::scaled_dot_product_attention::<&Tensor>(q, k, v, None, 0.0, false, None, false)
}

/// Splits the channels of `[B, T, heads * d]` into heads, `[B, heads, T, d]`. A view.
pub(crate) fn split_heads(x: &Tensor, heads: i64) -> Tensor {
    x.unflatten(2, [heads, -1]).transpose(1, 2)
}

/// Joins the heads of `[B, heads, T, d]` to channels, `[B, T, heads * d]`.
pub(crate) fn merge_heads(x: &Tensor) -> Tensor {
    x.transpose(1, 2).flatten(2, 3)
}

/// Returns `x W^T + bias` over the last dimension of `x` `[..., in]`, with `weight` `[out, in]` and `bias` `[out]`:
/// `[..., out]`.
///
/// In float32 on CPUs libtorch asks MKL, which is slow on processors that are not Intel's; for convolutions of kernel 1
/// it asks oneDNN, but only over batches of 16 and more if one thread computes. So tokens go there as 16 narrow maps.
pub(crate) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
    const MAPS: i64 = 16;
    let size = x.size();
    let (cin, cout) = (weight.size()[1], weight.size()[0]);
    let rows = if cin == 0 { 0 } else { x.numel() as i64 / cin };
    if x.device() != Device::Cpu || x.kind() != Kind::Float || rows % MAPS != 0 || rows < 4 * MAPS {
        return x.linear(weight, bias);
    }
    let maps = x.reshape([MAPS, rows / MAPS, 1, cin]).permute([0, 3, 1, 2]);
    let y = maps.conv2d(&weight.view([cout, cin, 1, 1]), bias, 1, 0, 1, 1);
    let y = y.permute([0, 2, 3, 1]);
    match size.split_last() {
        Some((_, leading)) => y.reshape([leading, &[cout]].concat()),
        None => y,
    }
}

/// Enlarges by 2 with the nearest neighbour: `[B, C, H, W]` to `[B, C, 2H, 2W]`.
pub(crate) fn upsample(x: &Tensor) -> Tensor {
    let (_, _, h, w) = x.size4().expect("a feature map has four dimensions");
    x.upsample_nearest2d([2 * h, 2 * w], None, None)
}

/// Takes the mean over 2x2: `[B, C, H, W]` to `[B, C, H / 2, W / 2]`.
pub(crate) fn downsample(x: &Tensor) -> Tensor {
    x.avg_pool2d([2, 2], [2, 2], [0, 0], false, true, None)
}

/// Views `[B, N]` as a map of one pixel, `[B, N, 1, 1]`, which broadcasts over maps.
pub(crate) fn over_map(x: &Tensor) -> Tensor {
    x.unsqueeze(-1).unsqueeze(-1)
}

/// Applies dropout in training. It costs nothing if `p` is 0.
pub(crate) fn dropout(x: Tensor, p: f64, train: bool) -> Tensor {
    if train && p > 0.0 { x.dropout(p, true) } else { x }
}

/// LeakyReLU of slope 0.2, value and gradient; tch has it for slope 0.01 only.
pub(crate) fn leaky_relu(x: &Tensor) -> Tensor {
    x.relu().lerp(x, 0.2)
}

/// guided-diffusion's sinusoidal embedding of timesteps: cosines, then sines, of `t` at `dim / 2` frequencies from 1
/// down to nearly 1/10000.
///
/// Takes `t` `[B]` (integer or float) and an even `dim`; returns `[B, dim]` float32.
pub(crate) fn timestep_embedding(t: &Tensor, dim: i64) -> Tensor {
    let half = dim / 2;
    let exponents = Tensor::arange(half, (Kind::Float, t.device())) * (-(10_000f64.ln()));
    let frequencies = (exponents / half as f64).exp();
    let angles = t.to_kind(Kind::Float).unsqueeze(1) * frequencies.unsqueeze(0);
    Tensor::cat(&[angles.cos(), angles.sin()], 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaky_relu_has_slope_a_fifth_below_zero() {
        let x = Tensor::from_slice(&[-2.0f32, 0.0, 3.0]).set_requires_grad(true);
        let y = leaky_relu(&x);
        assert_eq!(Vec::<f32>::try_from(&y).unwrap(), [-0.4, 0.0, 3.0]);
        y.sum(None::<Kind>).backward();
        assert_eq!(Vec::<f32>::try_from(x.grad()).unwrap(), [0.2, 0.2, 1.0]);
    }
}
