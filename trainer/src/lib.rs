//! Networks, losses, the parallel engine, stages, checkpoints, metrics and export.

pub mod checkpoint;
pub mod diffusion;
// pub mod evaluate;
pub mod export;
pub mod metrics;
pub mod model;
pub mod monitor;
pub mod parallel;
pub mod restore;
pub mod stage;
pub mod torch;
pub mod weights;
