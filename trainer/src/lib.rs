//! Networks, losses, the parallel engine, stages, checkpoints, metrics and export.

pub mod amp;
pub mod checkpoint;
pub mod data_command;
pub mod diffusion;
pub mod ema;
pub mod evaluate;
pub mod export;
pub mod heartbeat;
pub mod metrics;
pub mod model;
pub mod monitor;
pub mod optim;
pub mod parallel;
pub mod restore;
pub mod run;
pub mod signals;
pub mod stage;
mod throughput;
pub mod torch;
pub mod train;
pub mod validation;
pub mod weights;
pub mod worker;
pub mod workers;
