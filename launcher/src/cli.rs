//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use defusion_config::{Override, Resolved};

use crate::error::LaunchError;

/// Starts a Defusion training run on one or many hosts, watches it, and resumes it after a failure.
///
/// Run it by itself and it starts mpirun; run it under mpirun or srun and it starts this rank's worker.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// The recipe, such as configs/a100x8.yaml.
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Changes one key of the config, such as `diffusion.lr.base=2e-4`. May be given again.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<Override>,
    /// Checks the config, prints the plan and stops.
    #[arg(long)]
    dry_run: bool,
    /// Prints the plan as JSON.
    #[arg(long, requires = "dry_run")]
    json: bool,
    /// The worker's program [default: `defusion` beside this one].
    #[arg(long, value_name = "PATH")]
    worker_binary: Option<PathBuf>,
    /// Internal parts.
    #[command(subcommand)]
    pub part: Option<Part>,
}

/// Parts of the program that only the program itself starts.
#[derive(Debug, Subcommand)]
pub enum Part {
    /// Ties itself to its parent's life and becomes another program.
    #[command(hide = true)]
    Child(ChildArgs),
}

/// What [`crate::child`] is told to do before it becomes `program`.
#[derive(Clone, Debug, Args)]
pub struct ChildArgs {
    /// Number of the process that must be its parent.
    #[arg(long)]
    pub parent: i32,
    /// Number of the signal it gets when that process ends.
    #[arg(long)]
    pub death_signal: i32,
    /// CPUs it may use, `0-3,8`. Empty: as inherited.
    #[arg(long, default_value = "")]
    pub cpus: crate::cpus::CpuList,
    /// Program and arguments.
    #[arg(last = true, required = true)]
    pub program: Vec<std::ffi::OsString>,
}

/// A checked command line.
#[derive(Debug)]
pub struct Request {
    /// The config, validated.
    pub config: Resolved,
    /// Changes to the config, to be handed on.
    pub overrides: Vec<Override>,
    /// Whether to print the plan and stop.
    pub dry_run: bool,
    /// Whether to print the plan as JSON.
    pub json: bool,
    /// Absolute path of the worker's program.
    pub worker: PathBuf,
    /// Absolute path of this program.
    pub launcher: PathBuf,
}

impl Cli {
    /// Loads the config and finds the programs.
    ///
    /// # Errors
    /// [`LaunchError::Usage`] if `--config` is missing, [`LaunchError::Config`] if the config cannot work,
    /// [`LaunchError::Io`] if paths cannot be resolved.
    pub fn request(self) -> Result<Request, LaunchError> {
        let path = self.config.ok_or_else(|| LaunchError::usage("--config PATH is missing; try --help"))?;
        let mut config = Resolved::load(&path, &self.set)?;
        // Ranks may run elsewhere than in this folder.
        config.path = std::path::absolute(&path).map_err(|e| LaunchError::io("resolve", &path, e))?;
        let launcher = std::env::current_exe().map_err(|e| LaunchError::usage(format!("cannot find myself: {e}")))?;
        let worker = match self.worker_binary {
            Some(path) => std::path::absolute(&path).map_err(|e| LaunchError::io("resolve", &path, e))?,
            None => launcher.with_file_name("defusion"),
        };
        Ok(Request { config, overrides: self.set, dry_run: self.dry_run, json: self.json, worker, launcher })
    }
}
