//! Cores: how many a worker computes with, and which.
//!
//! `mpirun` binds a rank to one core by default, and a worker would inherit that and compute on one core whatever its
//! number of threads. So the binding is looked at, kept if it gives a worker the cores it is meant to have, and
//! replaced if it does not, by as many as mpirun itself was given. What the user said about all of them (`taskset mpirun`,
//! `srun --cpus-per-task`, a container) is never widened.

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
    /// Something between mpirun and this rank chose and said nothing: Open MPI 5, Intel MPI, a `taskset` of each rank.
    Unsaid,
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
    /// Number of CPUs that run on this host, whoever may use them.
    pub online: usize,
}

impl Node {
    /// Looks at this node. If mpirun has bound this process, that is undone: it gets the CPUs that mpirun has, `starter`. If
    /// these are not known it asks for all; the kernel narrows that to those which the container (cpuset) allows.
    ///
    /// Open MPI 4 says that it has bound a rank. Others do not; then it shows in that mpirun has CPUs that this process lacks.
    pub fn look(binding: Binding, starter: Option<CpuList>) -> Self {
        let bound = CpuList::current().unwrap_or_default();
        let starter = starter.filter(|starter| starter.0.is_superset(&bound.0));
        let narrowed = binding == Binding::Shared && starter.as_ref().is_some_and(|starter| *starter != bound);
        let binding = if narrowed { Binding::Unsaid } else { binding };
        if matches!(binding, Binding::ByMpirun | Binding::Unsaid) {
            // Refused (seccomp): then the binding is all that is known.
            let _ = starter.unwrap_or_else(|| CpuList((0..CpuSet::count()).collect())).apply();
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
        let online = std::fs::read_to_string("/sys/devices/system/cpu/online").ok().and_then(|text| text.parse().ok());
        let online = online.map_or(all.0.len(), |online: CpuList| online.0.len());
        Self { binding, bound, cores, quota, online }
    }

    /// Says what of this node the worker cannot use because it was bound so, or what a binding was replaced by. `None` if that
    /// is as usual.
    pub fn remark(&self, share: &Share) -> Option<String> {
        let allowed: usize = self.cores.iter().map(|core| core.0.len()).sum();
        let fewer = |what: &str, cpus: usize| format!("{what} allows {cpus} of this host's {} CPUs", self.online);
        match self.binding {
            Binding::Unsaid if share.cpus != self.bound => Some(format!(
                "it was started on CPUs {}, too few for {} threads; widened to what mpirun has",
                self.bound, share.threads
            )),
            Binding::BySrun if allowed < self.online => Some(fewer("srun", allowed)),
            _ if allowed < self.online => Some(fewer("the affinity that mpirun was started with", allowed)),
            _ => None,
        }
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
        let cpus = 2 * cores.len();
        Node { binding, bound: list(bound), quota: cpus, cores, online: cpus }
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
    fn what_is_not_as_usual_is_remarked() {
        let usual = node(8, Binding::Shared, "0-15");
        assert_eq!(usual.remark(&usual.share(2, 0, 0)), None);
        let said = node(8, Binding::ByMpirun, "0");
        assert_eq!(said.remark(&said.share(2, 0, 0)), None);
        let unsaid = node(8, Binding::Unsaid, "0");
        let words = "it was started on CPUs 0, too few for 4 threads; widened to what mpirun has";
        assert_eq!(unsaid.remark(&unsaid.share(2, 0, 0)).unwrap(), words);
        let narrow = Node { online: 64, ..node(1, Binding::Shared, "0-1") };
        let words = "the affinity that mpirun was started with allows 2 of this host's 64 CPUs";
        assert_eq!(narrow.remark(&narrow.share(2, 0, 0)).unwrap(), words);
        let srun = Node { online: 64, ..node(1, Binding::BySrun, "0-1") };
        assert_eq!(srun.remark(&srun.share(2, 0, 0)).unwrap(), "srun allows 2 of this host's 64 CPUs");
    }

    #[test]
    fn this_machine_has_cores() {
        let node = Node::look(Binding::Shared, None);
        let cpus: usize = node.cores.iter().map(|core| core.0.len()).sum();
        assert_eq!(cpus, CpuList::current().unwrap().0.len());
        assert!(node.quota >= 1);
    }
}
