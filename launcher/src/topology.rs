//! Finds where this process stands in an MPI job, from its environment, before any call to MPI.

use defusion_config::Cluster;

use crate::cpus::Binding;
use crate::error::LaunchError;

/// Who started this rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Starter {
    /// Open MPI's `mpirun`.
    OpenMpi,
    /// `srun` with PMI2 or PMIx.
    Slurm,
    /// MPICH's or Intel's `mpiexec` (Hydra).
    Hydra,
}

/// One rank's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Who started the rank.
    pub starter: Starter,
    /// Rank in the world.
    pub rank: u32,
    /// Number of ranks in the world.
    pub size: u32,
    /// Rank on this node.
    pub local_rank: u32,
    /// Number of ranks on this node.
    pub local_size: u32,
}

/// What a rank is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// It runs a worker.
    Work,
    /// There are more ranks than workers; it waits.
    Wait,
}

impl Place {
    /// Reads the place from the environment; `None` outside MPI.
    ///
    /// A Slurm batch script has `SLURM_PROCID` as well, but neither a step nor PMI, and is outside. So is the shell that
    /// `srun --pty` gives, which has all three.
    ///
    /// # Errors
    /// [`LaunchError::Usage`] if a variable is missing or is no number.
    pub fn from_env(get: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, LaunchError> {
        let number = |name: &str| -> Result<u32, LaunchError> {
            let text = get(name).ok_or_else(|| {
                LaunchError::usage(format!("this looks like a rank of an MPI job, but {name} is not set"))
            })?;
            text.trim().parse().map_err(|_| LaunchError::usage(format!("{name} is `{text}`, which is no number")))
        };
        let has = |name: &str| get(name).is_some();
        let place = if has("OMPI_COMM_WORLD_RANK") {
            Self {
                starter: Starter::OpenMpi,
                rank: number("OMPI_COMM_WORLD_RANK")?,
                size: number("OMPI_COMM_WORLD_SIZE")?,
                local_rank: number("OMPI_COMM_WORLD_LOCAL_RANK")?,
                local_size: number("OMPI_COMM_WORLD_LOCAL_SIZE")?,
            }
        } else if has("SLURM_PTY_PORT") && get("SLURM_STEP_NUM_TASKS").is_some_and(|tasks| tasks == "1") {
            return Ok(None);
        } else if has("SLURM_PROCID") && has("SLURM_STEP_ID") && (has("PMIX_RANK") || has("PMI_RANK")) {
            let per_node = get("SLURM_STEP_TASKS_PER_NODE").unwrap_or_default();
            let local_size = slurm_tasks_on(&per_node, number("SLURM_NODEID")?).ok_or_else(|| {
                LaunchError::usage(format!(
                    "SLURM_STEP_TASKS_PER_NODE is `{per_node}`, which tells no tasks of this node"
                ))
            })?;
            Self {
                starter: Starter::Slurm,
                rank: number("SLURM_PROCID")?,
                size: number("SLURM_STEP_NUM_TASKS")?,
                local_rank: number("SLURM_LOCALID")?,
                local_size,
            }
        } else if has("PMI_RANK") {
            Self {
                starter: Starter::Hydra,
                rank: number("PMI_RANK")?,
                size: number("PMI_SIZE")?,
                local_rank: number("MPI_LOCALRANKID")?,
                local_size: number("MPI_LOCALNRANKS")?,
            }
        } else if has("PMIX_RANK") {
            return Err(LaunchError::usage(
                "PMIX_RANK is set but neither Open MPI's nor Slurm's variables are: start me with mpirun or srun --mpi=pmix",
            ));
        } else {
            return Ok(None);
        };
        Ok(Some(place))
    }

    /// Returns what this rank is for. Workers are the first `workers_per_node` ranks of each node.
    ///
    /// # Errors
    /// [`LaunchError::Usage`] if there are fewer ranks than workers, as far as this rank can see. All ranks of a job see the
    /// same if the whole job is too small; all ranks of a node if only that node is. [`Place::speaks`] tells which one says
    /// so.
    pub fn duty(&self, cluster: &Cluster) -> Result<Duty, LaunchError> {
        let (workers, world) = (cluster.workers_per_node, cluster.world_size());
        let hint = match self.starter {
            Starter::Slurm => {
                "start more ranks, or change cluster.nodes and cluster.workers_per_node. That srun started me is what \
                 SLURM_STEP_ID and PMIX_RANK or PMI_RANK say; if they are left over: \
                 unset SLURM_STEP_ID PMIX_RANK PMI_RANK"
            }
            _ => "start more ranks, or change cluster.nodes and cluster.workers_per_node",
        };
        if self.size < world {
            return Err(LaunchError::usage(format!(
                "{} ranks were started, but the config needs {world} workers ({} nodes x {workers}): {hint}",
                self.size, cluster.nodes
            )));
        }
        if self.local_size == self.size && cluster.nodes > 1 {
            return Err(LaunchError::usage(format!(
                "all {} ranks are on this one node, but cluster.nodes is {}: {hint}",
                self.size, cluster.nodes
            )));
        }
        if self.local_size < workers {
            return Err(LaunchError::usage(format!(
                "this node has {} ranks, but cluster.workers_per_node is {workers}: {hint}",
                self.local_size
            )));
        }
        Ok(if self.local_rank < workers { Duty::Work } else { Duty::Wait })
    }

    /// Returns who chose the CPUs that this rank was started on.
    pub fn binding(&self, get: impl Fn(&str) -> Option<String>) -> Binding {
        match self.starter {
            // Open MPI 4 says so; if it says nothing it was told `--bind-to none`, or there are too many ranks to bind.
            Starter::OpenMpi if get("OMPI_MCA_orte_bound_at_launch").is_some() => Binding::ByMpirun,
            Starter::Slurm
                if get("SLURM_CPU_BIND_TYPE").is_some_and(|how| !how.is_empty() && !how.starts_with("none")) =>
            {
                Binding::BySrun
            }
            _ => Binding::Shared,
        }
    }

    /// Whether this rank is the one to print an error that [`Place::duty`] found.
    pub fn speaks(&self, cluster: &Cluster) -> bool {
        let whole_job = self.size < cluster.world_size() || self.local_size == self.size;
        if whole_job { self.rank == 0 } else { self.local_rank == 0 }
    }
}

/// Returns entry `node` of a list such as Slurm's `4(x2),2`.
fn slurm_tasks_on(per_node: &str, node: u32) -> Option<u32> {
    let mut before = 0;
    for group in per_node.split(',') {
        let (tasks, nodes) = match group.split_once("(x") {
            Some((tasks, rest)) => (tasks, rest.strip_suffix(')')?.parse().ok()?),
            None => (group, 1u32),
        };
        before += nodes;
        if node < before {
            return tasks.trim().parse().ok();
        }
    }
    None
}

/// Returns the name of this host, for messages.
pub fn host_name() -> String {
    nix::unistd::gethostname().map_or_else(|_| "localhost".into(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(vars: &[(&str, &str)]) -> Result<Option<Place>, LaunchError> {
        Place::from_env(|name| vars.iter().find(|(k, _)| *k == name).map(|(_, v)| (*v).to_owned()))
    }

    const OMPI: [(&str, &str); 4] = [
        ("OMPI_COMM_WORLD_RANK", "9"),
        ("OMPI_COMM_WORLD_SIZE", "16"),
        ("OMPI_COMM_WORLD_LOCAL_RANK", "1"),
        ("OMPI_COMM_WORLD_LOCAL_SIZE", "8"),
    ];

    #[test]
    fn each_starter_is_read_from_its_own_variables() {
        let ompi = place(&OMPI).unwrap().unwrap();
        assert_eq!(ompi, Place { starter: Starter::OpenMpi, rank: 9, size: 16, local_rank: 1, local_size: 8 });
        let slurm = place(&[
            ("SLURM_PROCID", "9"),
            ("SLURM_STEP_ID", "0"),
            ("PMIX_RANK", "9"),
            ("SLURM_STEP_NUM_TASKS", "10"),
            ("SLURM_LOCALID", "1"),
            ("SLURM_NODEID", "2"),
            ("SLURM_STEP_TASKS_PER_NODE", "4(x2),2"),
        ]);
        assert_eq!(
            slurm.unwrap().unwrap(),
            Place { starter: Starter::Slurm, rank: 9, size: 10, local_rank: 1, local_size: 2 }
        );
        let bound = |how: &str| ompi.binding(|name| (name == how).then(|| "1".into()));
        assert_eq!(bound("OMPI_MCA_orte_bound_at_launch"), Binding::ByMpirun);
        assert_eq!(bound("SLURM_CPU_BIND_TYPE"), Binding::Shared, "mpirun within a Slurm job");
        let hydra = [("PMI_RANK", "1"), ("PMI_SIZE", "2"), ("MPI_LOCALRANKID", "1"), ("MPI_LOCALNRANKS", "2")];
        assert_eq!(place(&hydra).unwrap().unwrap().starter, Starter::Hydra);
    }

    #[test]
    fn a_shell_and_a_slurm_batch_script_are_outside() {
        assert_eq!(place(&[]).unwrap(), None);
        assert_eq!(place(&[("SLURM_PROCID", "0"), ("SLURM_LOCALID", "0"), ("SLURM_JOB_ID", "7")]).unwrap(), None);
        let pty = [("SLURM_PROCID", "0"), ("SLURM_STEP_ID", "0"), ("PMIX_RANK", "0"), ("SLURM_STEP_NUM_TASKS", "1")];
        assert_eq!(place(&[&pty[..], &[("SLURM_PTY_PORT", "40001")]].concat()).unwrap(), None);
    }

    #[test]
    fn half_an_environment_is_an_error_that_names_the_variable() {
        let error = place(&OMPI[..2]).unwrap_err().to_string();
        assert!(error.contains("OMPI_COMM_WORLD_LOCAL_RANK"), "{error}");
        assert!(place(&[("PMIX_RANK", "0")]).unwrap_err().to_string().contains("srun --mpi=pmix"));
    }

    #[test]
    fn the_first_ranks_of_each_node_work_and_the_others_wait() {
        let cluster = |nodes, workers_per_node| Cluster { nodes, workers_per_node, ..Cluster::default() };
        let at = |rank, size, local_rank, local_size| Place {
            starter: Starter::OpenMpi,
            rank,
            size,
            local_rank,
            local_size,
        };
        assert_eq!(at(1, 4, 1, 4).duty(&cluster(1, 2)).unwrap(), Duty::Work);
        assert_eq!(at(2, 4, 2, 4).duty(&cluster(1, 2)).unwrap(), Duty::Wait);
        let few = at(0, 2, 0, 2);
        let in_a_step = Place { starter: Starter::Slurm, ..few.clone() };
        assert!(in_a_step.duty(&cluster(1, 8)).unwrap_err().to_string().contains("unset SLURM_STEP_ID"));
        assert!(few.duty(&cluster(1, 8)).unwrap_err().to_string().contains("2 ranks were started"));
        assert!(few.speaks(&cluster(1, 8)) && !at(1, 2, 1, 2).speaks(&cluster(1, 8)));
        let crowded = at(0, 16, 0, 16);
        assert!(crowded.duty(&cluster(2, 8)).unwrap_err().to_string().contains("cluster.nodes is 2"));
        let uneven = at(12, 16, 0, 4);
        assert!(uneven.duty(&cluster(2, 8)).unwrap_err().to_string().contains("this node has 4 ranks"));
        assert!(uneven.speaks(&cluster(2, 8)) && !at(13, 16, 1, 4).speaks(&cluster(2, 8)));
    }
}
