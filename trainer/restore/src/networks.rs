//! The networks that restoring needs, in one store and under the names of an exported file.

use defusion_config::Config;
use tch::{Device, nn};

use defusion_model::networks::defusion::DefusionUnet;
use defusion_model::networks::tokenizer::Tokenizer;

/// Tokenizer and diffusion network, held in one store: `tokenizer.*`, `unet.*`, `bridge.*`, `adapter.*`.
#[derive(Debug)]
pub struct Networks {
    store: nn::VarStore,
    tokenizer: Tokenizer,
    unet: DefusionUnet,
}

impl Networks {
    /// Fresh networks of `config.model` on `device`, frozen: gradients are not recorded.
    pub fn new(config: &Config, device: Device) -> Self {
        let mut store = nn::VarStore::new(device);
        let root = store.root();
        let tokens = Tokenizer::token_count(&config.model.tokenizer, i64::from(config.data.grounds.size));
        let tokenizer = Tokenizer::new(&(&root / "tokenizer"), &config.model.tokenizer);
        let unet = DefusionUnet::new(&root, &config.model, tokens);
        store.freeze();
        Self { store, tokenizer, unet }
    }

    /// All parameters.
    pub fn store(&self) -> &nn::VarStore {
        &self.store
    }

    /// The degradation tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// U-Net, bridge and adapter.
    pub fn unet(&self) -> &DefusionUnet {
        &self.unet
    }
}
