//! The networks: tensors in, tensors out.

pub mod lpips;
