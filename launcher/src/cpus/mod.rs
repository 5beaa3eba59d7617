//! Cores: how many a worker computes with, and which.
//!
//! `mpirun` binds a rank to one core by default, and a worker would inherit that and compute on one core whatever its
//! number of threads. So the binding is looked at, kept if it gives a worker the cores it is meant to have, and
//! replaced if it does not. What the user said (`taskset`, `srun --cpus-per-task`, a container) is never widened.

mod list;

use std::collections::BTreeSet;
use std::fmt;

use nix::sched::CpuSet;

pub use list::{CpuList, CpuListError};

/// Who chose the CPUs that this process was started on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// Nobody chose for this rank; all ranks of the host share these CPUs.
    Shared,
    /// mpirun chose for this rank alone, and maybe not well.
    ByMpirun,
    /// srun chose for this rank alone, as its user said.
    BySrun,
}

/// What this process found on its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Who chose `bound`.
    pub binding: Binding,
    /// The CPUs that this process was started on.
    pub bound: CpuList,
    /// Physical cores that all workers of the node may use, each as its logical CPUs.
    pub cores: Vec<CpuList>,
    /// How many CPUs' worth of time the container grants; at least 1.
    pub quota: usize,
}

impl Node {
    /// Looks at this node. If mpirun has bound this process, that is undone: the kernel then narrows the mask of all CPUs to
    /// those that the container (cpuset) allows, which is the only way to learn them.
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

    /// Returns the share of the worker with local rank `local_rank` of `workers`. `threads` 0: as many as it has cores.
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
