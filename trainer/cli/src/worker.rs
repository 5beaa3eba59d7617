//! `defusion worker`: one rank of a training job, started by `defusion-launch`.

use std::path::PathBuf;

use clap::Args;
use defusion_config::protocol::{ENV_DEVICE, ENV_THREADS, EXIT_DONE};
use defusion_config::{Override, Resolved};
use defusion_parallel::ProcessGroup;
use defusion_trainer::run::{Run, TrainError};
use defusion_trainer::signals::StopSignal;
use defusion_trainer::train::train;
use tch::Device;

/// Arguments of `defusion worker`.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// The run's config.
    #[arg(long)]
    config: PathBuf,
    /// Changes to the config: dotted.key=value.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<Override>,
}

/// Trains as one rank. Returns the exit code of `defusion_config::protocol`; errors have been printed.
pub fn run_worker(args: &WorkerArgs) -> i32 {
    let resolved = match Resolved::load(&args.config, &args.sets) {
        Ok(resolved) => resolved,
        Err(error) => return failed(&error, error.exit_code()),
    };
    let group = match ProcessGroup::join(device(), &resolved.config.cluster) {
        Ok(group) => group,
        Err(error) => return failed(&error, error.exit_code()),
    };
    let rank = group.rank();
    match train_as_rank(resolved, group.clone()) {
        Ok(()) => match group.leave() {
            Ok(()) => EXIT_DONE,
            Err(error) => failed(&format_args!("rank {rank}: {error}"), error.exit_code()),
        },
        // Rank 0 says what it told the others; each other rank speaks only of what it alone knows.
        Err(error) if error.is_said_elsewhere() => error.exit_code(),
        Err(error) => failed(&format_args!("rank {rank}: {error}"), error.exit_code()),
    }
}

fn failed(error: &dyn std::fmt::Display, exit_code: i32) -> i32 {
    eprintln!("defusion: {error}");
    exit_code
}

fn train_as_rank(resolved: Resolved, group: ProcessGroup) -> Result<(), TrainError> {
    let threads: usize = std::env::var(ENV_THREADS).ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let threads = threads.max(1);
    defusion_torch::tune_malloc();
    tch::set_num_threads(i32::try_from(threads).unwrap_or(1));
    let loader_threads = match resolved.config.data.loader.threads {
        0 => threads.saturating_sub(1).max(1),
        n => n as usize,
    };
    let mut run = Run::enter(resolved, group, StopSignal::listen()?, loader_threads)?;
    let outcome = train(&mut run)?;
    run.leave(outcome)
}

/// The device that the launcher chose, the CPU if there is no launcher.
fn device() -> Device {
    let name = std::env::var(ENV_DEVICE).unwrap_or_default();
    name.strip_prefix("cuda:").and_then(|index| index.parse().ok()).map_or(Device::Cpu, Device::Cuda)
}
