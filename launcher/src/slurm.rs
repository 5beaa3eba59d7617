//! Slurm's variables around the job: an allocation to run in, or leftovers that mpirun must not see.
//!
//! mpirun believes a variable: with `SLURM_JOBID` set it looks for the allocation's nodes and starts them by `srun`. In a
//! shell that kept the variables of a job that is over, in a container, or on another machine, it fails with an internal error.

use std::path::Path;

use defusion_config::Cluster;

/// Variables by which mpirun and this program tell that a resource manager started them.
pub const MANAGERS: [&str; 5] = ["SLURM_JOB_ID", "SLURM_JOBID", "PBS_JOBID", "LSB_JOBID", "PE_HOSTFILE"];

/// Slurm's variables that are kept from mpirun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftovers {
    /// Their names.
    pub names: Vec<String>,
    /// What is said about it.
    pub message: String,
}

/// Finds Slurm's variables in `env` if this is not an allocation that mpirun can use: without `srun` on PATH it cannot start
/// anything there; and a shell within a step has a step's few tasks for slots, while one node needs no Slurm at all.
pub fn leftovers(cluster: &Cluster, env: &[(String, String)]) -> Option<Leftovers> {
    let get = |name: &str| env.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    let job = ["SLURM_JOB_ID", "SLURM_JOBID"].into_iter().find_map(|name| Some((name, get(name)?)));
    let path = get("PATH").unwrap_or_default();
    let srun = std::env::split_paths(path).any(|folder: std::path::PathBuf| Path::new(&folder).join("srun").is_file());
    let step = ["SLURM_STEP_ID", "SLURM_STEPID"].into_iter().any(|name| get(name).is_some());
    let why = match job {
        Some(_) if !srun => "there is no `srun` on PATH",
        Some(_) if step && cluster.nodes == 1 && cluster.hosts.is_empty() => {
            "this is a shell within one of the job's steps, and one node needs no Slurm"
        }
        _ => return None,
    };
    let (name, value) = job?;
    let ours = |name: &str| ["SLURM_", "PMI_", "PMIX_"].iter().any(|prefix| name.starts_with(prefix));
    let names: Vec<String> = env.iter().map(|(name, _)| name).filter(|name| ours(name)).cloned().collect();
    let message = format!(
        "{name}={value} is set, but {why}: mpirun does not get Slurm's variables ({}). If they are left over from a job \
         that has ended: unset ${{!SLURM_@}}",
        names.join(", ")
    );
    Some(Leftovers { names, message })
}

/// Returns a hint for a run of mpirun in which nothing came up: the variables that it went by, and how to be without.
pub fn hint(env: &[(String, String)]) -> Option<String> {
    let set: Vec<String> = env
        .iter()
        .filter(|(name, _)| MANAGERS.contains(&name.as_str()) || name == "SLURM_NODELIST")
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let names: Vec<&str> = set.iter().filter_map(|pair| Some(pair.split_once('=')?.0)).collect();
    (!set.is_empty()).then(|| {
        format!(
            "mpirun took this for a job of a resource manager, as {} say; if they are left over from a job that has ended: \
             unset {}",
            set.join(", "),
            names.join(" ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn an_allocation_is_used_and_leftovers_are_not() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("srun"), "").unwrap();
        let path = folder.path().display().to_string();
        let (one, two) = (Cluster::default(), Cluster { nodes: 2, ..Cluster::default() });
        let job = [("SLURM_JOB_ID", "7"), ("SLURM_NODELIST", "n[1-2]"), ("HOME", "/root")];
        let with = |more: &[(&str, &str)]| env(&[&job, more].concat());

        assert_eq!(leftovers(&one, &env(&[("SLURM_NODELIST", "n1"), ("PATH", "/nowhere")])), None, "no job");
        assert_eq!(leftovers(&one, &with(&[("PATH", &path)])), None, "a batch script");
        let found = leftovers(&two, &with(&[("PATH", "/nowhere")])).unwrap();
        assert_eq!(found.names, ["SLURM_JOB_ID", "SLURM_NODELIST"]);
        for part in ["SLURM_JOB_ID=7", "no `srun` on PATH", "SLURM_NODELIST", "unset ${!SLURM_@}"] {
            assert!(found.message.contains(part), "{}", found.message);
        }
        let shell = with(&[("PATH", &path), ("SLURM_STEP_ID", "0"), ("PMIX_RANK", "0")]);
        assert!(leftovers(&one, &shell).is_some_and(|found| found.names.contains(&"PMIX_RANK".to_owned())));
        assert_eq!(leftovers(&two, &shell), None, "more nodes need Slurm");
    }
}
