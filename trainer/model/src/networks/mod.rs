//! The networks: tensors in, tensors out. They know nothing of losses, optimizers or devices.
//!
//! Every network takes a [`tch::nn::Path`] and registers its parameters there under the names of the public reference
//! implementation, so that public weights load by name ([`crate::import`]):
//!
//! | module | network | names of |
//! |---|---|---|
//! | [`tokenizer`], [`quantizer`] | VQ degradation tokenizer | taming-transformers `VQModel` |
//! | [`discriminator`] | PatchGAN | taming-transformers `NLayerDiscriminator` |
//! | [`unet`] | diffusion U-Net | guided-diffusion `UNetModel` |
//! | [`bridge`], [`adapter`], [`defusion`] | what Defusion adds to it | this project |
//! | [`lpips`] | perceptual distance (frozen, read from a file) | lpips `LPIPS` |
//!
//! Fresh parameters are drawn as PyTorch's layers draw theirs, and the layers that the references start at zero start
//! at zero. Activations are `[B, C, H, W]` in either memory format: what comes out has the format of what goes in.

pub mod adapter;
mod attention;
pub mod bridge;
pub mod defusion;
pub mod discriminator;
mod forward;
mod layers;
pub mod lpips;
mod ops;
pub mod quantizer;
mod resblock;
pub mod tokenizer;
pub mod unet;
mod vqgan_blocks;

pub use forward::ForwardOptions;
pub use layers::BatchStatistics;
