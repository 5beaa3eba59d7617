//! ResBlock of guided-diffusion, with the place where the image restoration bridge enters.

use defusion_config::UnetArch;
use tch::Tensor;
use tch::nn::Path;

use super::bridge::Modulation;
use super::forward::{ForwardOptions, block};
use super::layers::{ADM_EPS, Conv2d, GroupNorm, Linear, WeightInit};
use super::ops::{downsample, dropout, over_map, upsample};

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
/// If the bridge is on, it modulates after the time's FiLM and gates the residual, per pixel; a modulation of zero
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
    /// Registers `in_layers`, `emb_layers`, `out_layers` and, if the width changes, `skip_connection`; `bridge` is the
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
            in_norm: GroupNorm::new(path / "in_layers" / 0, cin, ADM_EPS),
            in_conv: Conv2d::new(path / "in_layers" / 2, cin, cout, 3),
            emb: Linear::new(path / "emb_layers" / 1, 4 * arch.model_channels, emb_width),
            out_norm: GroupNorm::new(path / "out_layers" / 0, cout, ADM_EPS),
            out_conv: Conv2d::with_init(path / "out_layers" / 3, cout, cout, 3, WeightInit::Zero),
            skip: (cin != cout).then(|| Conv2d::new(path / "skip_connection", cin, cout, 1)),
            resample,
            scale_shift: arch.use_scale_shift_norm,
            dropout: arch.dropout,
            bridge,
        }
    }

    /// `[B, Cin, H, W]` to `[B, Cout, H', W']`, where H' and W' are as `resample` says.
    ///
    /// `emb` is SiLU of the time embedding, `[B, 4 * model_channels]`; `features` are the bridge's, one map for each
    /// level, or empty.
    pub(crate) fn forward(&self, x: &Tensor, emb: &Tensor, features: &[Tensor], options: &ForwardOptions) -> Tensor {
        let train = options.train;
        match self.bridge.as_ref().and_then(|bridge| features.get(bridge.level())) {
            Some(features) => block(options, self, &[x, emb, features], move |this, inputs| {
                this.run(inputs[0], inputs[1], Some(inputs[2]), train)
            }),
            None => block(options, self, &[x, emb], move |this, inputs| this.run(inputs[0], inputs[1], None, train)),
        }
    }

    /// `features`: those of the bridge at the output's size.
    fn run(&self, x: &Tensor, emb: &Tensor, features: Option<&Tensor>, train: bool) -> Tensor {
        let modulation = self.bridge.as_ref().zip(features).map(|(bridge, features)| bridge.forward(features));

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
            (false, true) => self.out_norm.forward_silu(&(h + over_map(&emb))),
            (false, false) => self.out_norm.forward(&(h + over_map(&emb))),
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
