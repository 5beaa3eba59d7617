//! Networks and diffusion against goldens: what the public reference implementations computed (guided-diffusion's U-Net
//! and diffusion; taming-transformers' VQGAN and PatchGAN), in float32, to 1e-4 relative.
//!
//! The files hold no parameters. Those follow from their names by a rule ([`golden::fill`]), so that filling a network
//! of ours by name also proves every name and shape. README.md says what each file holds and how to make it anew.

mod conditioning;
mod diffusion;
mod discriminator;
mod golden;
mod public_weights;
mod tokenizer;
mod unet;
