//! `defusion-data`: lists, prepares, verifies and previews datasets. It links no libtorch.

#![forbid(unsafe_code)]

mod failure;
mod list;
mod prepare;
mod preview;
mod progress;
mod verify;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use failure::Failure;

/// Lists, prepares, verifies and previews datasets.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What to do with datasets.
#[derive(Debug, Subcommand)]
enum Command {
    /// Show the datasets that are known, and those that are prepared.
    List(list::ListArgs),
    /// Make shards from a dataset's folder.
    Prepare(prepare::PrepareArgs),
    /// Check every byte and every pixel block of prepared datasets.
    Verify(verify::VerifyArgs),
    /// Draw galleries of degradations, instructions and grounds.
    Preview(preview::PreviewArgs),
}

fn main() -> ExitCode {
    log_to_stderr();
    let result = match Cli::parse().command {
        Command::List(args) => list::run(&args),
        Command::Prepare(args) => prepare::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Preview(args) => preview::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("defusion-data: {error}");
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
        }
    }
}

/// Logs what `RUST_LOG` asks for, warnings and errors if it is unset.
fn log_to_stderr() {
    let asked = std::env::var("RUST_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let targets = asked.unwrap_or_else(|| Targets::new().with_default(LevelFilter::WARN));
    tracing_subscriber::registry()
        .with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr))
        .with(targets)
        .init();
}

/// Writes to standard output; a reader that has seen enough, such as `head`, is no error.
fn show(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::Output(e)),
        _ => Ok(()),
    }
}
