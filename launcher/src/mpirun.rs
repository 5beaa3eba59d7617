//! Makes the mpirun command line of a job.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use defusion_config::Cluster;
use defusion_config::protocol::ENV_TERMINAL;

use crate::cli::Request;
use crate::error::LaunchError;
use crate::report::ENV_REPORT;
use crate::slurm::MANAGERS;

/// Finds `mpirun` on PATH.
///
/// # Errors
/// [`LaunchError::Usage`] if it is not there.
pub fn find() -> Result<PathBuf, LaunchError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join("mpirun")).find(|program| program.is_file()).ok_or_else(
        || LaunchError::usage("`mpirun` is not on PATH: install Open MPI (scripts/setup does) or load its module"),
    )
}

/// Makes mpirun's arguments: ranks, places, environment, and this program as every rank's. `terminal` is
/// [`crate::terminal::announced`]; `env` is mpirun's environment.
///
/// # Errors
/// [`LaunchError::Usage`] if there are several nodes, but nothing says which.
pub fn arguments(
    request: &Request,
    terminal: Option<&str>,
    env: &[(String, String)],
) -> Result<Vec<OsString>, LaunchError> {
    let cluster = &request.config.config.cluster;
    let mut args: Vec<OsString> = Vec::new();
    let mut add = |arg: &str| args.push(arg.into());
    add("-n");
    add(&cluster.world_size().to_string());
    for arg in places(cluster, env)? {
        add(&arg);
    }
    // The launcher divides the cores itself, by what a worker needs: see `cpus`.
    add("--bind-to");
    add("none");
    // mpirun would hand the terminal's input to rank 0.
    add("--stdin");
    add("none");
    for (name, value) in [(ENV_REPORT, "1")].into_iter().chain(terminal.map(|device| (ENV_TERMINAL, device))) {
        add("-x");
        add(&format!("{name}={value}"));
    }
    if !cluster.hosts.is_empty() || cluster.nodes > 1 {
        // By name only: mpirun takes the values from its own environment, and they show in no process list.
        for (name, _) in env.iter().filter(|(name, _)| travels(name)) {
            add("-x");
            add(name);
        }
    }
    cluster.mpirun_args.iter().for_each(|arg| add(arg));
    args.push(request.launcher.clone().into());
    args.push("--config".into());
    args.push(request.config.path.clone().into());
    for change in &request.overrides {
        args.push("--set".into());
        args.push(change.to_string().into());
    }
    args.push("--worker-binary".into());
    args.push(request.worker.clone().into());
    Ok(args)
}

/// Makes the arguments that say where ranks go.
fn places(cluster: &Cluster, env: &[(String, String)]) -> Result<Vec<String>, LaunchError> {
    let per_node = format!("ppr:{}:node", cluster.workers_per_node);
    if !cluster.hosts.is_empty() {
        let slots = |host: &defusion_config::Host| format!("{}:{}", host.name, cluster.workers_per_node);
        let hosts: Vec<String> = cluster.hosts.iter().map(slots).collect();
        return Ok(vec!["--host".into(), hosts.join(","), "--map-by".into(), per_node]);
    }
    let set = |name: &str| env.iter().any(|(n, _)| n == name);
    let managed = MANAGERS.iter().any(|name| set(name));
    let told = cluster.mpirun_args.iter().any(|arg| arg.contains("host")) || set("OMPI_MCA_orte_default_hostfile");
    if managed || told {
        return Ok(vec!["--map-by".into(), per_node]);
    }
    if cluster.nodes > 1 {
        return Err(LaunchError::usage(format!(
            "cluster.nodes is {}, but cluster.hosts is empty and this is no Slurm, PBS or LSF job: \
             list the hosts, or give a hostfile in cluster.mpirun_args",
            cluster.nodes
        )));
    }
    // This host, whatever its number of cores.
    Ok(vec!["--host".into(), format!("localhost:{}", cluster.workers_per_node)])
}

/// Whether other hosts need an environment variable of this one: libraries, logging, network, and the standard chains of
/// the object stores' credentials.
fn travels(name: &str) -> bool {
    const NAMES: [&str; 4] = ["LD_LIBRARY_PATH", "LIBTORCH", "GLIBC_TUNABLES", "RUST_BACKTRACE"];
    const PREFIXES: [&str; 7] = ["RUST_LOG", "NCCL_", "UCX_", "AWS_", "GOOGLE_", "AZURE_", "DEFUSION_"];
    let ours = [ENV_REPORT, ENV_TERMINAL];
    !ours.contains(&name) && (NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
}

/// Writes the command as a user would type it, for the log.
pub fn shown(program: &Path, args: &[OsString]) -> String {
    let words = std::iter::once(program.as_os_str()).chain(args.iter().map(OsString::as_os_str));
    let quoted = words.map(|word| {
        let word = word.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word.into_owned()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use defusion_config::{Override, Resolved};

    fn arguments_with(cluster: &str, env: &[(&str, &str)]) -> Result<String, LaunchError> {
        let text = format!(
            "name: t\nrun: r\ndata: {{shards: s, datasets: [{{name: d}}]}}\ncluster: {cluster}\n\
             tokenizer: {{perceptual_weight: 0, global_batch: 32}}\n"
        );
        let change: Override = "seed=3".parse().unwrap();
        let request = Request {
            config: Resolved::parse(&text, Path::new("/c.yaml"), std::slice::from_ref(&change)).unwrap(),
            overrides: vec![change],
            dry_run: false,
            json: false,
            worker: "/bin/w".into(),
            launcher: "/bin/l".into(),
        };
        let env: Vec<_> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        arguments(&request, None, &env).map(|args| shown(Path::new("mpirun"), &args))
    }

    #[test]
    fn one_host_needs_nothing_else() {
        let line = arguments_with("{workers_per_node: 2, mpirun_args: [--tag-output]}", &[]).unwrap();
        assert_eq!(
            line,
            "mpirun -n 2 --host localhost:2 --bind-to none --stdin none -x DEFUSION_REPORT=1 --tag-output \
             /bin/l --config /c.yaml --set seed=3 --worker-binary /bin/w"
        );
    }

    #[test]
    fn several_hosts_get_their_workers_and_the_environment_by_name() {
        let cluster = "{nodes: 2, workers_per_node: 4, hosts: [{name: a}, {name: b}]}";
        let line = arguments_with(cluster, &[("AWS_SECRET_ACCESS_KEY", "hidden"), ("HOME", "/root")]).unwrap();
        assert!(line.contains("-n 8 --host a:4,b:4 --map-by ppr:4:node"), "{line}");
        assert!(
            line.contains("-x AWS_SECRET_ACCESS_KEY ") && !line.contains("hidden") && !line.contains("HOME"),
            "{line}"
        );
    }

    #[test]
    fn hosts_come_from_the_resource_manager_or_must_be_given() {
        let cluster = "{nodes: 2, workers_per_node: 4}";
        assert!(arguments_with(cluster, &[("SLURM_JOB_ID", "7")]).unwrap().contains("-n 8 --map-by ppr:4:node"));
        assert!(arguments_with(cluster, &[]).unwrap_err().to_string().contains("cluster.hosts is empty"));
    }

    #[test]
    fn words_are_quoted_for_the_shell() {
        assert_eq!(shown(Path::new("m"), &["a b".into(), "it's".into(), "".into()]), r"m 'a b' 'it'\''s' ''");
    }
}
