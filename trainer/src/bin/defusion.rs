//! `defusion`: everything but the launching. `defusion-launch` starts `defusion worker` on every rank.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use defusion_config::protocol::{EXIT_DONE, EXIT_USAGE};
use defusion_trainer::data_command::{DataCommand, run_data};
use defusion_trainer::{evaluate, export, restore, worker};

/// Train and use Defusion, one model that restores degraded photographs.
#[derive(Parser)]
#[command(version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Datasets: list, prepare, verify, preview.
    #[command(subcommand)]
    Data(DataCommand),
    /// Score weights on the config's evaluation datasets.
    Evaluate(evaluate::EvaluateArgs),
    /// Write a run's weights to one safetensors file.
    Export(export::ExportArgs),
    /// Restore a picture.
    Restore(restore::RestoreArgs),
    /// One rank of a training job; started by defusion-launch.
    #[command(hide = true)]
    Worker(worker::WorkerArgs),
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into()))
        .with_writer(std::io::stderr)
        .init();
    let result: Result<(), Box<dyn std::error::Error>> = match Cli::parse().command {
        Command::Data(command) => run_data(&command),
        Command::Evaluate(args) => evaluate::run_evaluate(&args).map_err(Into::into),
        Command::Export(args) => export::run_export(&args).map_err(Into::into),
        Command::Restore(args) => restore::run_restore(&args).map_err(Into::into),
        Command::Worker(args) => return exit_code(worker::run_worker(&args)),
    };
    match result {
        Ok(()) => exit_code(EXIT_DONE),
        Err(error) => {
            eprintln!("defusion: {error}");
            exit_code(EXIT_USAGE)
        }
    }
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
