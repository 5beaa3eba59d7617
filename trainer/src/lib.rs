//! Networks, losses, the parallel engine, stages, checkpoints, metrics and export.

pub mod amp;
pub mod checkpoint;
pub mod diffusion;
pub mod ema;
pub mod metrics;
pub mod model;
pub mod monitor;
pub mod optim;
pub mod parallel;
pub mod stage;
pub mod torch;
pub mod weights;
