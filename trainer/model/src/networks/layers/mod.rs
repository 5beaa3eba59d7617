//! The layers that networks are made of, under PyTorch's names and drawn as PyTorch draws them.
//!
//! A clone of a layer is a handle to the same parameters: blocks are cloned to be run again in backward.

mod batch_norm;
mod conv;
mod group_norm;
mod init;
mod linear;

pub(crate) use batch_norm::BatchNorm2d;
pub use batch_norm::BatchStatistics;
pub(crate) use conv::Conv2d;
pub(crate) use group_norm::{ADM_EPS, GroupNorm, VQGAN_EPS};
pub(crate) use init::WeightInit;
pub(crate) use linear::Linear;
