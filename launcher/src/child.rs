//! Ties a child to its parent's life, between fork and exec.
//!
//! The kernel can send a process a signal when its parent ends, however it ends. That has to be asked for by the child
//! itself; doing so between `fork` and `exec` needs `unsafe`, so a child is this program first
//! (`defusion-launch child ...`), asks, and then becomes the program that was meant.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use nix::unistd::getppid;

use crate::cli::ChildArgs;
use crate::cpus::CpuList;
use crate::error::LaunchError;

/// Exit code of a child whose program could not be started.
pub const EXIT_NOT_STARTED: i32 = 127;

/// Makes a command that starts `program` as a child, in a process group of its own, which gets `death_signal` when the calling
/// *thread* ends (so says the kernel; call from the main thread), and runs on `cpus` only (empty: as inherited).
///
/// A group of its own: the terminal's Ctrl-C, and mpirun's signals to its ranks' groups, reach the child through its
/// parent only, once and in order.
pub fn tied(launcher: &Path, death_signal: Signal, cpus: &CpuList, program: &Path) -> Command {
    let mut command = Command::new(launcher);
    command
        .arg("child")
        .args(["--parent", &std::process::id().to_string()])
        .args(["--death-signal", &(death_signal as i32).to_string()])
        .args(["--cpus", &cpus.to_string()])
        .arg("--")
        .arg(program)
        .process_group(0);
    command
}

/// Does the child's side of [`tied`]. Returns only if something failed.
pub fn become_program(args: &ChildArgs) -> LaunchError {
    let failed = |message: String| LaunchError::Ended { message, code: EXIT_NOT_STARTED };
    let Ok(signal) = Signal::try_from(args.death_signal) else {
        return LaunchError::usage(format!("{} is no signal", args.death_signal));
    };
    if let Err(e) = nix::sys::prctl::set_pdeathsig(signal) {
        return failed(format!("cannot tie myself to my parent: {e}"));
    }
    // It may have ended before the kernel was asked.
    if getppid().as_raw() != args.parent {
        return failed("my parent ended".into());
    }
    if !args.cpus.0.is_empty()
        && let Err(e) = args.cpus.apply()
    {
        // Slower, but right: not worth ending a run for.
        crate::logs::say(&format!("cannot bind to CPUs {}: {e}", args.cpus));
    }
    let Some((program, rest)) = args.program.split_first() else {
        return LaunchError::usage("no program is given");
    };
    let error = Command::new(program).args(rest).exec();
    failed(format!("cannot start {}: {error}", Path::new(program).display()))
}
