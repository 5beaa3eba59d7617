//! The networks of Defusion (arXiv 2506.16960) on libtorch, its diffusion, and files of weights.
//!
//! | module | what is in it |
//! |---|---|
//! | [`networks`] | tokenizer, discriminator, U-Net with bridge and adapter, LPIPS: tensors in, tensors out |
//! | [`diffusion`] | noise schedule, training objective, DDIM sampler, tiles for large images |
//! | [`weights`] | safetensors files, read with checks and written deterministically |
//! | [`import`] | public weights by the reference implementations' names, and exported files |
//!
//! The crate stands on `defusion-torch` (libtorch and fused kernels), `defusion-config` (the networks' shapes) and
//! `defusion-footprint` (which blocks are recomputed in backward). It knows no dataset, optimizer, process group or
//! command line: `defusion-trainer` trains the networks, and `defusion-restore` restores images with them.
//!
//! Shapes are PyTorch's: images and maps `[B, C, H, W]` in either memory format, tokens `[B, T, C]`. Images are in
//! [-1, 1]. Computation is float32, or bfloat16 under [`defusion_torch::autocast()`].
//!
//! # Example
//! Restores an image with networks whose weights are in files:
//!
//! ```no_run
//! use defusion_config::{BetaSchedule, Model};
//! use defusion_model::diffusion::sampler::{Clip, ddim};
//! use defusion_model::diffusion::schedule::Schedule;
//! use defusion_model::import;
//! use defusion_model::networks::ForwardOptions;
//! use defusion_model::networks::defusion::DefusionUnet;
//! use defusion_model::networks::tokenizer::Tokenizer;
//! use tch::nn::VarStore;
//! use tch::{Device, Tensor};
//!
//! /// `lq`: the degraded image; `v` and `null`: a ground with and without the degradation; all `[1, 3, 256, 256]`.
//! fn restore(lq: &Tensor, v: &Tensor, null: &Tensor) -> Result<Tensor, import::ImportError> {
//!     let model = Model::default();
//!     let (tokenizer_store, unet_store) = (VarStore::new(Device::Cpu), VarStore::new(Device::Cpu));
//!     let tokenizer = Tokenizer::new(&tokenizer_store.root(), &model.tokenizer);
//!     let token_count = Tokenizer::token_count(&model.tokenizer, 256);
//!     let unet = DefusionUnet::new(&unet_store.root(), &model, token_count);
//!     import::tokenizer(&tokenizer_store, None, "defusion.safetensors")?;
//!     import::unet(&unet_store, "defusion.safetensors")?;
//!
//!     let tokens = tokenizer.residual_tokens(v, null, false);
//!     let schedule = Schedule::new(BetaSchedule::Linear, 1000);
//!     let (timesteps, y_t, clip) = ([800, 600, 400, 200], lq.randn_like(), Clip::to_image(lq));
//!     let no_noise = |_| unreachable!("eta is 0");
//!     let y0 = ddim(&schedule, &timesteps, 0.0, y_t, &clip, no_noise, |y_t, t| {
//!         unet.forward(y_t, &Tensor::from_slice(&[t]), lq, Some(&tokens), &ForwardOptions::EVAL)
//!     });
//!     Ok(lq - y0)
//! }
//! ```
#![forbid(unsafe_code)]

pub mod diffusion;
pub mod import;
pub mod networks;
pub mod weights;
