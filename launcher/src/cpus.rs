//! Cores: how many a worker computes with, and which.
//!
//! `mpirun` binds a rank to one core by default, and a worker would inherit that and compute on one core whatever its
//! number of threads. So the binding is looked at, kept where it gives a worker the cores it is meant to have, and
//! replaced where it does not. What the user said (`taskset`, `srun --cpus-per-task`, a container) is never widened.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Logical CPUs, in the kernel's list form: `0-3,8`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuList(pub BTreeSet<usize>);

impl FromStr for CpuList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut cpus = BTreeSet::new();
        for part in text.trim().split(',').filter(|p| !p.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number =
                |s: &str| s.trim().parse::<usize>().map_err(|_| format!("`{part}` is no CPU or range of CPUs"));
            let (first, last) = (number(first)?, number(last)?);
            if first > last || last >= CpuSet::count() {
                return Err(format!("`{part}` is no range of CPUs"));
            }
            cpus.extend(first..=last);
        }
        Ok(Self(cpus))
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cpus = self.0.iter().copied().peekable();
        let mut separator = "";
        while let Some(first) = cpus.next() {
            let mut last = first;
            while cpus.next_if_eq(&(last + 1)).is_some() {
                last += 1;
            }
            write!(f, "{separator}{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
            separator = ",";
        }
        Ok(())
    }
}

impl CpuList {
    /// Makes this process, and the programs that it becomes or starts, run on these CPUs only.
    ///
    /// # Errors
    /// The kernel's refusal, such as CPUs outside the container's set.
    pub fn apply(&self) -> nix::Result<()> {
        let mut set = CpuSet::new();
        for cpu in &self.0 {
            set.set(*cpu)?;
        }
        sched_setaffinity(Pid::from_raw(0), &set)
    }

    /// The CPUs that this process may run on.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn current() -> nix::Result<Self> {
        let set = sched_getaffinity(Pid::from_raw(0))?;
        Ok(Self((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu) == Ok(true)).collect()))
    }
}

/// Who chose the CPUs that this process was started on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// Nobody chose for this rank; all ranks of the host share these CPUs.
    Shared,
    /// mpirun, for this rank alone, and maybe not well.
    ByMpirun,
    /// srun, for this rank alone, as its user said.
    BySrun,
}

/// What this process found on its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Who chose `bound`.
    pub binding: Binding,
    /// The CPUs that this process was started on.
    pub bound: CpuList,
    /// Physical cores that are there for all workers of the node, each as its logical CPUs.
    pub cores: Vec<CpuList>,
    /// How many CPUs' worth of time the container grants; at least 1.
    pub quota: usize,
}

impl Node {
    /// Looks at this node. Where mpirun has bound this process, that is undone: the kernel then narrows the mask of all
    /// CPUs to those that the container (cpuset) allows, which is the only way to learn them.
    pub fn look(binding: Binding) -> Self {
        let bound = CpuList::current().unwrap_or_default();
        if binding == Binding::ByMpirun {
            // Refused (seccomp): then the binding is all that is known.
            let _ = CpuList((0..CpuSet::count()).collect()).apply();
        }
        let all = CpuList::current().unwrap_or_else(|_| bound.clone());
        let mut cores: Vec<CpuList> = Vec::new();
        for cpu in &all.0 {
            if cores.iter().any(|core| core.0.contains(cpu)) {
                continue;
            }
            let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
            let siblings: CpuList =
                std::fs::read_to_string(path).ok().and_then(|text| text.parse().ok()).unwrap_or_default();
            let mut core: BTreeSet<usize> = siblings.0.intersection(&all.0).copied().collect();
            core.insert(*cpu);
            cores.push(CpuList(core));
        }
        let quota = std::thread::available_parallelism().map_or(1, usize::from);
        Self { binding, bound, cores, quota }
    }

    /// The share of the worker with local rank `local_rank` of `workers`. `threads` 0: as many as it has cores.
    pub fn share(&self, workers: usize, local_rank: usize, threads: usize) -> Share {
        let n = self.cores.len();
        let usable = n.min(self.quota).max(1);
        let unbound = |threads, why| Share { threads, cpus: CpuList::default(), why };
        let or_all_of = |cores: usize| if threads > 0 { threads } else { cores.max(1) };
        if self.binding == Binding::BySrun {
            return unbound(or_all_of(usable), "as bound by srun");
        }
        let threads = or_all_of(usable / workers.max(1));
        let bound_cores = self.cores.iter().filter(|core| !core.0.is_disjoint(&self.bound.0)).count();
        if bound_cores < n && bound_cores >= threads {
            return Share { threads, cpus: self.bound.clone(), why: "as bound by mpirun" };
        }
        if self.quota < n {
            return unbound(threads, "unbound: the container's CPU quota is below its cores");
        }
        if workers * threads > n || local_rank >= workers {
            return unbound(threads, "unbound: more threads than cores");
        }
        // Not `threads` but all that fall to this worker, so that loader threads have cores of their own too.
        let mine = &self.cores[local_rank * n / workers..(local_rank + 1) * n / workers];
        Share {
            threads,
            cpus: CpuList(mine.iter().flat_map(|core| core.0.iter().copied()).collect()),
            why: "its share",
        }
    }
}

/// A worker's threads and CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Threads to compute with.
    pub threads: usize,
    /// CPUs to run on; empty: all of the node.
    pub cpus: CpuList,
    /// How `cpus` was chosen.
    pub why: &'static str,
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.threads == 1 { "" } else { "s" };
        write!(f, "{} thread{plural}", self.threads)?;
        if !self.cpus.0.is_empty() {
            write!(f, " on CPUs {}", self.cpus)?;
        }
        write!(f, " ({})", self.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> CpuList {
        text.parse().unwrap()
    }

    /// `cores` cores of two threads each, numbered as Linux does: core k is CPUs k and k + cores.
    fn node(cores: usize, binding: Binding, bound: &str) -> Node {
        let cores: Vec<_> = (0..cores).map(|k| CpuList([k, k + cores].into())).collect();
        Node { binding, bound: list(bound), quota: 2 * cores.len(), cores }
    }

    #[test]
    fn lists_read_and_write_the_kernels_form() {
        assert_eq!(list("0-3,8,10-11").to_string(), "0-3,8,10-11");
        assert_eq!(list("").to_string(), "");
        assert_eq!(list("3,1,2\n").to_string(), "1-3");
        assert!("3-1".parse::<CpuList>().is_err() && "x".parse::<CpuList>().is_err());
        assert!("0-99999999999".parse::<CpuList>().is_err());
    }

    #[test]
    fn mpiruns_one_core_is_replaced_by_the_workers_share() {
        let share = node(8, Binding::ByMpirun, "0").share(2, 1, 0);
        assert_eq!(share, Share { threads: 4, cpus: list("4-7,12-15"), why: "its share" });
        assert_eq!(share.to_string(), "4 threads on CPUs 4-7,12-15 (its share)");
    }

    #[test]
    fn shares_cover_every_core_once() {
        let cpus: Vec<usize> =
            (0..3).flat_map(|rank| node(8, Binding::Shared, "0-15").share(3, rank, 0).cpus.0).collect();
        assert_eq!(cpus.len(), 16);
        assert_eq!(cpus.into_iter().collect::<BTreeSet<_>>().len(), 16);
    }

    #[test]
    fn a_binding_wide_enough_is_kept() {
        let share = node(8, Binding::ByMpirun, "0-3,8-11").share(2, 0, 0);
        assert_eq!((share.threads, share.cpus, share.why), (4, list("0-3,8-11"), "as bound by mpirun"));
        // All of srun's cores are this worker's own, whatever its local rank.
        let share = node(4, Binding::BySrun, "0-7").share(8, 5, 0);
        assert_eq!((share.threads, share.cpus), (4, list("")));
    }

    #[test]
    fn too_many_threads_or_a_quota_leave_the_worker_unbound() {
        let share = node(2, Binding::Shared, "0-3").share(2, 0, 8);
        assert_eq!((share.threads, share.cpus), (8, list("")));
        let share = Node { quota: 2, ..node(8, Binding::Shared, "0-15") }.share(1, 0, 0);
        assert_eq!((share.threads, share.cpus), (2, list("")));
    }

    #[test]
    fn this_machine_has_cores() {
        let node = Node::look(Binding::Shared);
        let cpus: usize = node.cores.iter().map(|core| core.0.len()).sum();
        assert_eq!(cpus, CpuList::current().unwrap().0.len());
        assert!(node.quota >= 1);
    }
}
