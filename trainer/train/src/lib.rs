//! Training: the loop, one step of each stage, the optimizer and the moving average, and what a run shows of itself.
//!
//! The top of the library crates. [`train::train`] is the loop, for both stages the same lines; [`stage`] holds one step
//! of each; [`run`] is what the loop asks of the job around it: run folder, process group, monitor, signals.
//!
//! ```no_run
//! use defusion_config::{Config, Resolved};
//! use defusion_parallel::ProcessGroup;
//! use defusion_trainer::run::Run;
//! use defusion_trainer::signals::StopSignal;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let resolved = Resolved::load("configs/tiny-test.yaml".as_ref(), &[])?;
//! let group = ProcessGroup::solo(tch::Device::Cpu);
//! let mut run = Run::enter(resolved, group, StopSignal::listen()?, 1)?;
//! let outcome = defusion_trainer::train::train(&mut run)?;
//! run.leave(outcome)?;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

pub mod ema;
pub mod heartbeat;
pub mod monitor;
pub mod optim;
pub mod run;
pub mod signals;
pub mod stage;
mod throughput;
pub mod train;
mod validation;
