//! `defusion`: train and use Defusion from the command line.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use defusion::{data, evaluate, export, restore, worker};
use defusion_config::protocol::EXIT_DONE;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

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
    Data(data::DataArgs),
    /// Score weights on the config's evaluation datasets.
    Evaluate(evaluate::EvaluateArgs),
    /// Write a run's weights to one safetensors file.
    Export(export::ExportArgs),
    /// Restore an image.
    Restore(restore::RestoreArgs),
    /// One rank of a training job; started by defusion-launch.
    #[command(hide = true)]
    Worker(worker::WorkerArgs),
}

/// Why a command failed. The text names the file, key or argument.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
enum CommandError {
    Data(#[from] data::DataError),
    Evaluate(#[from] evaluate::EvaluateCommandError),
    Export(#[from] defusion_restore::export::ExportError),
    Restore(#[from] restore::RestoreError),
}

impl CommandError {
    /// Returns the process's exit code.
    fn exit_code(&self) -> i32 {
        match self {
            Self::Data(_) => defusion_config::protocol::EXIT_USAGE,
            Self::Evaluate(error) => error.exit_code(),
            Self::Export(error) => error.exit_code(),
            Self::Restore(error) => error.exit_code(),
        }
    }
}

fn main() -> ExitCode {
    log_to_stderr();
    let result: Result<(), CommandError> = match Cli::parse().command {
        Command::Data(args) => Err(data::become_data_program(&args).into()),
        Command::Evaluate(args) => evaluate::run_evaluate(&args).map_err(Into::into),
        Command::Export(args) => export::run_export(&args).map_err(Into::into),
        Command::Restore(args) => restore::run_restore(&args).map_err(Into::into),
        Command::Worker(args) => return exit_code(worker::run_worker(&args)),
    };
    exit_code(match result {
        Ok(()) => EXIT_DONE,
        Err(error) => {
            eprintln!("defusion: {error}");
            error.exit_code()
        }
    })
}

/// Shows warnings on standard error, or what `RUST_LOG` asks for, such as `defusion_storage=debug`.
fn log_to_stderr() {
    let asked = std::env::var("RUST_LOG").ok().and_then(|filter| filter.parse::<Targets>().ok());
    let targets = asked.unwrap_or_else(|| Targets::new().with_default(tracing_subscriber::filter::LevelFilter::WARN));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(lines).with(targets).init();
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
