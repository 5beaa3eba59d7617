//! The whole of stage 2's network: U-Net, bridge and adapter (Defusion, Sec. 3.2 and 3.3).

use defusion_config::Model;
use tch::Tensor;
use tch::nn::Path;

use super::adapter::{Adapter, CrossAttentionBuilder};
use super::bridge::{Bridge, ModulationBuilder};
use super::forward::ForwardOptions;
use super::unet::{Additions, Conditions, Unet};

/// Predicts the noise in y_t, given the degraded image (through the bridge) and the instruction (through the adapter).
///
/// A fresh one predicts exactly what its U-Net alone does.
#[derive(Debug)]
pub struct DefusionUnet {
    unet: Unet,
    bridge: Bridge,
    adapter: Option<Adapter>,
    eps_channels: i64,
}

impl DefusionUnet {
    /// Registers the U-Net at `unet` (guided-diffusion's names), the bridge at `bridge` and, if it is enabled, the
    /// adapter at `adapter`. `tokens` is the number of tokens of an instruction.
    pub fn new(path: &Path<'_>, model: &Model, tokens: i64) -> Self {
        let (bridge_path, adapter_path) = (path / "bridge", path / "adapter");
        let enabled = model.adapter.enabled;
        let mut additions = Additions {
            bridge: Some(ModulationBuilder::new(&bridge_path, &model.bridge)),
            adapter: enabled.then(|| CrossAttentionBuilder::new(&adapter_path, &model.adapter)),
        };
        let embed_dim = model.tokenizer.embed_dim;
        Self {
            unet: Unet::with(&(path / "unet"), &model.unet, &mut additions),
            bridge: Bridge::new(&bridge_path, &model.bridge),
            adapter: enabled.then(|| Adapter::new(&adapter_path, &model.adapter, embed_dim, tokens)),
            eps_channels: model.unet.in_channels,
        }
    }

    /// The predicted noise `[B, 3, H, W]`.
    ///
    /// `y_t`: `[B, 3, H, W]`; `t`: `[B]`, i64 or f32, in 0..1000; `lq`: x_LQ `[B, 3, H, W]` in [-1, 1]; `tokens`: the
    /// instruction's residual tokens `[B, T, embed_dim]`, of which none and all zero are the same. H and W are
    /// multiples of 2^(levels - 1). Of a learned variance head the variance rows are left out.
    pub fn forward(
        &self,
        y_t: &Tensor,
        t: &Tensor,
        lq: &Tensor,
        tokens: Option<&Tensor>,
        options: &ForwardOptions,
    ) -> Tensor {
        let features = self.bridge.forward(lq);
        let context = self.adapter.as_ref().zip(tokens).map(|(adapter, tokens)| adapter.forward(tokens));
        let out = self.unet.forward(y_t, t, &Conditions { features, context }, options);
        out.narrow(1, 0, self.eps_channels)
    }
}
