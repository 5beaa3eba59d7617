//! `defusion worker`: one rank of a training job, started by `defusion-launch`.

use std::path::PathBuf;

use clap::Args;
use defusion_config::protocol::{ENV_DEVICE, ENV_THREADS, EXIT_DIVERGED, EXIT_DONE, EXIT_FAILED, EXIT_USAGE};
use defusion_config::{Override, Resolved};
use defusion_dataloader::loader::LoadError;
use tch::Device;

use crate::checkpoint::CheckpointError;
use crate::evaluate::EvaluateError;
use crate::run::{Run, TrainError};
use crate::signals::StopWish;
use crate::stage::StageError;
use crate::train::train;
use crate::workers::Workers;

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
        Err(error) => {
            eprintln!("defusion: {error}");
            return EXIT_USAGE;
        }
    };
    let workers = match Workers::join(device(), &resolved.config.cluster) {
        Ok(workers) => workers,
        Err(error) => {
            eprintln!("defusion: {error}");
            return EXIT_FAILED;
        }
    };
    let rank = workers.rank();
    match work(resolved, workers.clone()) {
        Ok(()) => match workers.leave() {
            Ok(()) => EXIT_DONE,
            Err(error) => {
                eprintln!("defusion: rank {rank}: {error}");
                EXIT_FAILED
            }
        },
        Err(error) => {
            // Rank 0 says what it told the others; each other rank speaks only of what it alone knows.
            if !matches!(error, TrainError::RankZero(_) | TrainError::Elsewhere(_)) {
                eprintln!("defusion: rank {rank}: {error}");
            }
            exit_code(&error)
        }
    }
}

fn work(resolved: Resolved, workers: Workers) -> Result<(), TrainError> {
    let threads: usize = std::env::var(ENV_THREADS).ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let threads = threads.max(1);
    crate::torch::tune_malloc();
    tch::set_num_threads(i32::try_from(threads).unwrap_or(1));
    let loader_threads = match resolved.config.data.loader.threads {
        0 => threads.saturating_sub(1).max(1),
        n => n as usize,
    };
    let stop = StopWish::listen().map_err(|e| TrainError::RankZero(format!("signals: {e}")))?;
    let mut run = Run::enter(resolved, workers, stop, loader_threads)?;
    let outcome = train(&mut run)?;
    run.leave(outcome)
}

/// The device that the launcher chose, the CPU where there is no launcher.
fn device() -> Device {
    let name = std::env::var(ENV_DEVICE).unwrap_or_default();
    name.strip_prefix("cuda:").and_then(|index| index.parse().ok()).map_or(Device::Cpu, Device::Cuda)
}

/// Whether starting again can help, as the launcher wants to know.
fn exit_code(error: &TrainError) -> i32 {
    let of_the_moment = match error {
        TrainError::Load(LoadError::Dataset { source, .. } | LoadError::Sample { source, .. })
        | TrainError::Shard(source)
        | TrainError::Validation(EvaluateError::Shard { source, .. })
        | TrainError::Stage(StageError::Validation(EvaluateError::Shard { source, .. })) => source.may_pass(),
        _ => false,
    };
    match error {
        _ if of_the_moment => EXIT_FAILED,
        TrainError::Stage(StageError::Diverged { .. }) => EXIT_DIVERGED,
        TrainError::Stage(StageError::Weights(_) | StageError::Validation(_))
        | TrainError::Load(_)
        | TrainError::Validation(_)
        | TrainError::Shard(_)
        | TrainError::Elsewhere(_) => EXIT_USAGE,
        TrainError::Checkpoint(CheckpointError::OtherConfig { .. } | CheckpointError::NoneUsable { .. }) => EXIT_USAGE,
        _ => EXIT_FAILED,
    }
}
