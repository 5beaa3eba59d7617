//! ResBlock of guided-diffusion, with the place where the image restoration bridge enters.

use defusion_config::UnetArch;
use tch::Tensor;
use tch::nn::Path;

use super::bridge::Modulation;
use super::layers::{Conv2d, GroupNorm, Linear, Start, downsample, dropout, upsample};

/// Whether a ResBlock changes the map's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resample {
    /// Same size.
    None,
    /// Twice the size, nearest neighbour.
    Up,
    /// Half the size, mean over 2x2.
    Down,
}

impl Resample {
    fn apply(self, x: Tensor) -> Tensor {
        match self {
            Self::None => x,
            Self::Up => upsample(&x),
            Self::Down => downsample(&x),
        }
    }
}

/// `skip(x) + conv(silu(film(norm(conv(silu(norm(x)))), t)))`. The last convolution starts at zero.
///
/// Where the bridge is on, it modulates after the time's FiLM and gates the residual, per pixel; a modulation of zero
/// changes nothing.
#[derive(Clone, Debug)]
pub(crate) struct ResBlock {
    in_norm: GroupNorm,
    in_conv: Conv2d,
    emb: Linear,
    out_norm: GroupNorm,
    out_conv: Conv2d,
    skip: Option<Conv2d>,
    resample: Resample,
    scale_shift: bool,
    dropout: f64,
    bridge: Option<Modulation>,
}

impl ResBlock {
    /// Registers `in_layers`, `emb_layers`, `out_layers` and, where the width changes, `skip_connection`; `bridge` is the
    /// bridge's part, registered by the bridge.
    pub(crate) fn new(
        path: &Path<'_>,
        [cin, cout]: [i64; 2],
        arch: &UnetArch,
        resample: Resample,
        bridge: Option<Modulation>,
    ) -> Self {
        let emb_width = if arch.use_scale_shift_norm { 2 * cout } else { cout };
        Self {
            in_norm: GroupNorm::new(path / "in_layers" / 0, cin, 1e-5),
            in_conv: Conv2d::new(path / "in_layers" / 2, cin, cout, 3),
            emb: Linear::new(path / "emb_layers" / 1, 4 * arch.model_channels, emb_width),
            out_norm: GroupNorm::new(path / "out_layers" / 0, cout, 1e-5),
            out_conv: Conv2d::starting(path / "out_layers" / 3, cout, cout, 3, Start::Zero),
            skip: (cin != cout).then(|| Conv2d::new(path / "skip_connection", cin, cout, 1)),
            resample,
            scale_shift: arch.use_scale_shift_norm,
            dropout: arch.dropout,
            bridge,
        }
    }

    /// The pyramid level that this block's modulation reads, if the bridge enters here.
    pub(crate) fn bridge_level(&self) -> Option<usize> {
        self.bridge.as_ref().map(Modulation::level)
    }

    /// `inputs`: the map `[B, Cin, H, W]`; SiLU of the time embedding `[B, 4 * model_channels]`; and the bridge's features
    /// at the output's size, if there are any.
    pub(crate) fn forward(&self, inputs: &[&Tensor], train: bool) -> Tensor {
        let (x, emb) = (inputs[0], inputs[1]);
        let modulation = match (&self.bridge, inputs) {
            (Some(bridge), [_, _, features]) => Some(bridge.forward(features)),
            _ => None,
        };

        let h = self.in_norm.forward_silu(x);
        let h = match self.resample {
            Resample::Up => self.in_conv.forward_upsampled(&h),
            resample => self.in_conv.forward(&resample.apply(h)),
        };
        let x = self.resample.apply(x.shallow_clone());

        let emb = self.emb.forward(emb);
        // The bridge modulates before SiLU.
        let silu = modulation.is_none();
        let mut h = match (self.scale_shift, silu) {
            (true, _) => self.out_norm.forward_film(&h, &emb, silu),
            (false, true) => self.out_norm.forward_silu(&(h + emb.unsqueeze(-1).unsqueeze(-1))),
            (false, false) => self.out_norm.forward(&(h + emb.unsqueeze(-1).unsqueeze(-1))),
        };
        if let Some([scale, shift, _]) = &modulation {
            h = shift.addcmul(&h, &(scale + 1)).silu();
        }
        let mut h = self.out_conv.forward(&dropout(h, self.dropout, train));
        if let Some([_, _, gate]) = &modulation {
            h = h.addcmul(&h, gate);
        }
        match &self.skip {
            Some(skip) => skip.forward(&x) + h,
            None => x + h,
        }
    }
}
