//! `defusion data`: handed over to `defusion-data`, the program that prepares datasets without libtorch.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use clap::Args;

/// The program, which is built and installed beside this one.
const PROGRAM: &str = "defusion-data";

/// Arguments of `defusion data`, all of which are `defusion-data`'s.
#[derive(Debug, Args)]
#[command(disable_help_flag = true, disable_help_subcommand = true)]
pub struct DataArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// `defusion-data` could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {}: {source}; it is built along with defusion and belongs into the same folder", program.display())]
pub struct DataError {
    program: PathBuf,
    source: std::io::Error,
}

/// Becomes `defusion-data`: the process goes on as that program and returns only if it cannot be started.
pub fn become_data_program(args: &DataArgs) -> DataError {
    let beside = std::env::current_exe().map(|own| own.with_file_name(PROGRAM));
    let program = beside.unwrap_or_else(|_| PathBuf::from(PROGRAM));
    let source = Command::new(&program).args(&args.arguments).exec();
    DataError { program, source }
}
