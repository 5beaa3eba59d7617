//! The process that starts ranks on this host, such as `mpirun`: its CPUs, and how it is held off.

use std::path::{Path, PathBuf};

use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid};

use crate::cpus::CpuList;

/// Programs that start ranks, as the kernel names them: Open MPI 4's, Open MPI 5's, MPICH's and Intel's.
const STARTERS: [&str; 9] =
    ["mpirun", "mpiexec", "orterun", "orted", "prterun", "prte", "prted", "hydra_pmi_proxy", "hydra_bstrap_pr"];
/// How far up a starter is looked for: past the wrapper scripts that people write.
const GENERATIONS: usize = 8;

/// Returns the CPUs of the process that starts ranks on this host, an ancestor of this one; `None` if there is none.
pub fn cpus_of_starter() -> Option<CpuList> {
    let set = sched_getaffinity(starter()?).ok()?;
    Some(CpuList((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu) == Ok(true)).collect()))
}

fn starter() -> Option<Pid> {
    let ancestors =
        std::iter::successors(Some(getppid()), |pid| Some(state_of(*pid)?.1).filter(|pid| pid.as_raw() > 1));
    ancestors.take(GENERATIONS).find(|pid| {
        let name = std::fs::read_to_string(proc(*pid).join("comm")).unwrap_or_default();
        STARTERS.contains(&name.trim())
    })
}

/// Keeps a bare `mpirun` from killing its ranks while their workers leave a checkpoint.
///
/// On SIGTERM or SIGINT, mpirun passes SIGTERM on to its ranks and kills them a second later. A rank that hears it stops the
/// mpirun above it (SIGSTOP), and lets it go on when its worker has left, or has had its time. Released when dropped.
#[derive(Debug, Default)]
pub struct Hold {
    held: Option<Pid>,
}

impl Hold {
    /// Stops the starter, if all its `ranks` on this host are there: otherwise one has failed, mpirun is ending the rest, and
    /// no worker could finish a step. Returns whether it is held.
    pub fn begin(&mut self, ranks: u32) -> bool {
        let Some(starter) = starter() else { return false };
        if children_of(starter) < ranks as usize || kill(starter, Signal::SIGSTOP).is_err() {
            return false;
        }
        self.held = Some(starter);
        true
    }

    /// Lets the starter go on.
    pub fn release(&mut self) {
        if let Some(starter) = self.held.take() {
            let _ = kill(starter, Signal::SIGCONT);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.release();
    }
}

/// Counts the children of a process that have not ended.
fn children_of(parent: Pid) -> usize {
    let processes = std::fs::read_dir("/proc").into_iter().flatten();
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok().map(Pid::from_raw));
    pids.filter(|pid| state_of(*pid).is_some_and(|(state, of)| of == parent && !matches!(state, 'Z' | 'X'))).count()
}

/// Returns the state of a process, a letter, and its parent.
fn state_of(pid: Pid) -> Option<(char, Pid)> {
    let stat = std::fs::read_to_string(proc(pid).join("stat")).ok()?;
    // The name in brackets may hold anything; the state and the parent follow it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, Pid::from_raw(fields.next()?.parse().ok()?)))
}

fn proc(pid: Pid) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}
