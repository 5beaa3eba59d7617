//! `defusion-launch`: starts a training run, watches it, and starts it again after a failure.
//!
//! One binary plays three parts and tells them apart by its environment:
//!
//! - *the job* ([`job`]), outside MPI: checks the config, prints the [`plan`], runs `mpirun` and restarts it;
//! - *a rank* ([`rank`]), under `mpirun` or `srun`: starts one worker as a child, hands it its device and cores, watches its
//!   heartbeat;
//! - *a surplus rank* ([`surplus`]), if there are more ranks than workers: waits without using CPU.
//!
//! Stands on `defusion-config`, `defusion-footprint` and `defusion-datasets`; nothing here links libtorch. A worker is any
//! program that keeps to [`defusion_config::protocol`]: `examples/minimal_worker.rs` shows the least. Processes never outlive
//! each other: see [`child`].
//!
//! ```
//! use defusion_config::Resolved;
//! use defusion_launch::plan::LaunchPlan;
//!
//! let recipe = "{name: mine, run: runs/mine, data: {shards: /nowhere, datasets: [{name: gopro}]}, \
//!                tokenizer: {perceptual_weight: 0}, cluster: {device_memory_gib: 16}}";
//! let plan = LaunchPlan::new(&Resolved::parse(recipe, "mine.yaml".as_ref(), &[])?);
//! assert_eq!(plan.workers.world_size, 8);
//! assert!(plan.problems.iter().any(|problem| problem.contains("stage diffusion needs about")));
//! assert_eq!(plan.check().unwrap_err().exit_code(), defusion_config::protocol::EXIT_USAGE);
//! # Ok::<(), defusion_config::ConfigError>(())
//! ```
#![forbid(unsafe_code)]

pub mod child;
pub mod cli;
pub mod cpus;
pub mod error;
pub mod gpus;
pub mod heartbeat;
pub mod job;
pub mod logs;
pub mod mpirun;
pub mod plan;
pub mod rank;
pub mod report;
pub mod restarts;
pub mod slurm;
pub mod spawn;
pub mod starter;
pub mod supervise;
pub mod surplus;
pub mod terminal;
pub mod topology;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Part};
use error::LaunchError;
use topology::Place;

/// Runs the whole program, from command line to exit code.
pub fn run() -> ExitCode {
    // clap exits with 2 on a bad command line, which is `EXIT_USAGE`.
    let cli = Cli::parse();
    let code = match cli.part {
        Some(Part::Child(child)) => Err(child::become_program(&child)),
        None => start(cli),
    };
    let code = code.unwrap_or_else(|error| {
        logs::say(&error.to_string());
        error.exit_code()
    });
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn start(cli: Cli) -> Result<i32, LaunchError> {
    let place = Place::from_env(|name| std::env::var(name).ok())?;
    let request = match (cli.request(), &place) {
        // The same file on the same host: one rank says what is wrong with it.
        (Err(_), Some(place)) if place.local_rank > 0 => return Ok(rank::leave_the_word_to_another()),
        (request, _) => request?,
    };
    match place {
        None => job::run(&request),
        Some(place) => rank::run(&request, &place),
    }
}
