//! Who is started, with what.

use std::path::Path;

use defusion_launch::cpus::{Binding, CpuList, Node};

use crate::launch::{launcher, value, worker};

#[test]
fn the_job_runs_a_worker_a_rank_and_merges_their_output() {
    let ended = worker("mpi tell sum say:hello warn:careful").set("seed=7").run().expect(0);
    let of = |rank: &str| ended.out.lines().find(|l| l.contains(&format!("rank={rank}"))).expect("its line").to_owned();
    assert!(of("0").starts_with("rank=0 device=cpu"), "rank 0 as it is: {}", of("0"));
    assert!(of("1").starts_with("[1] rank=1 device=cpu"), "rank 1 with its number: {}", of("1"));
    for line in [of("0"), of("1")] {
        assert_eq!(value(&line, "threads"), value(&line, "omp"));
        assert!(line.contains(r#""worker", "--config""#) && line.contains(r#""--set", "seed=7""#), "{line}");
    }
    for text in ["sum=2 of 2", "[1] sum=2 of 2", "hello", "[1] hello"] {
        assert!(ended.out.lines().any(|line| line == text), "no line {text:?} in\n{}", ended.out);
    }
    ended.says(&["careful\n", "[1] careful\n"]);
}

#[test]
fn a_bare_mpirun_with_more_ranks_than_workers_trains_with_the_workers() {
    let ended = worker("mpi tell sum sleep:300").ranks(5, &[]).run().expect(0);
    assert_eq!(ended.out.matches("sum=2 of 2").count(), 2, "{}", ended.out);
    assert_eq!(ended.out.matches("device=cpu").count(), 2, "{}", ended.out);
}

#[test]
fn fewer_ranks_than_workers_is_one_clear_error_and_no_hang() {
    let ended = worker("mpi").set("cluster.workers_per_node=4").ranks(3, &[]).run().expect(2);
    assert_eq!(ended.times("3 ranks were started, but the config needs 4 workers"), 1, "{}", ended.err);
    let ended = worker("mpi").set("cluster.nodes=2").ranks(4, &[]).run().expect(2);
    assert_eq!(ended.times("cluster.nodes is 2"), 1, "{}", ended.err);
}

#[test]
fn a_worker_is_not_left_on_the_one_core_that_mpirun_bound_its_rank_to() {
    let node = Node::look(Binding::Shared, None);
    let ended = worker("tell")
        .set("cluster.workers_per_node=1")
        .set(&format!("cluster.threads_per_worker={}", node.cores.len()))
        .ranks(1, &["--bind-to", "core"])
        .run()
        .expect(0);
    let line = ended.out.lines().find(|l| l.contains("rank=0")).expect("its line");
    let all: usize = node.cores.iter().map(|core| core.0.len()).sum();
    assert_eq!(value(line, "cpus"), all.to_string());
}

/// The number of CPUs that one worker of one rank runs on, and the launcher's words.
fn cpus_of_one_worker(launch: crate::launch::Launch) -> (String, String) {
    let ended = launch.set("cluster.workers_per_node=1").run().expect(0);
    let line = ended.out.lines().find(|l| l.contains("rank=0")).expect("its line");
    (value(line, "cpus"), ended.err)
}

#[test]
fn a_binding_that_nobody_speaks_of_is_widened_and_said() {
    let all: usize = Node::look(Binding::Shared, None).cores.iter().map(|core| core.0.len()).sum();
    if all == 1 {
        return;
    }
    let first = CpuList::current().unwrap().0.first().unwrap().to_string();
    // As Open MPI 5 does: bound, without a variable that says so. And each rank under a `taskset`, in a wrapper script too.
    let taskset = vec!["--bind-to", "none", "taskset", "-c", first.leak()];
    let silent = vec!["--bind-to", "hwthread", "--use-hwthread-cpus", "env", "-u", "OMPI_MCA_orte_bound_at_launch"];
    let wrapped = [taskset.as_slice(), &["sh", "-c", r#""$0" "$@"; exit $?"#]].concat();
    for args in [taskset, silent, wrapped] {
        let (cpus, said) = cpus_of_one_worker(worker("tell").ranks(1, &args));
        assert_eq!(cpus, all.to_string(), "{args:?}: {said}");
        assert!(said.contains("it was started on CPUs ") && said.contains("widened"), "{args:?}: {said}");
    }
}

#[test]
fn an_affinity_that_mpirun_has_too_is_kept_and_said() {
    let all = CpuList::current().unwrap();
    if all.0.len() == 1 {
        return;
    }
    let first = all.0.first().unwrap().to_string();
    for launch in [worker("tell").ranks(1, &[]), worker("tell").ranks(1, &["--bind-to", "none"]), worker("tell")] {
        let (cpus, said) = cpus_of_one_worker(launch.under(&["taskset", "-c", &first]));
        assert_eq!(cpus, "1", "{said}");
        assert!(said.contains("the affinity that mpirun was started with allows 1 of this host's "), "{said}");
    }
}

#[test]
fn leftovers_of_a_slurm_job_are_named_and_kept_from_mpirun() {
    if which("srun") {
        return;
    }
    let leftovers = |launch: crate::launch::Launch| {
        let vars = [("SLURM_JOB_ID", "7"), ("SLURM_JOBID", "7"), ("SLURM_NODELIST", "n[1-2]"), ("SLURM_PROCID", "0")];
        vars.into_iter().fold(launch, |launch, (name, value)| launch.env(name, value))
    };
    let ended = leftovers(worker("tell")).run().expect(0);
    ended.says(&["SLURM_JOB_ID=7 is set, but there is no `srun` on PATH", "SLURM_NODELIST", "unset ${!SLURM_@}"]);
    // More nodes cannot be found without it.
    let ended = leftovers(worker("tell").set("cluster.nodes=2")).run().expect(2);
    ended.says(&["SLURM_JOB_ID=7 is set", "cluster.hosts is empty"]);
}

#[test]
fn what_mpirun_went_by_is_named_if_no_rank_comes_up() {
    // A job that is over: there is an srun, but it knows no such job.
    let bin = tempfile::tempdir().unwrap();
    let srun = bin.path().join("srun");
    std::fs::write(&srun, "#!/bin/sh\nexit 1\n").unwrap();
    std::fs::set_permissions(&srun, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.path().display(), std::env::var("PATH").unwrap());
    let launch =
        worker("tell").path(&path).env("SLURM_JOB_ID", "7").env("SLURM_JOBID", "7").env("SLURM_NODELIST", "n1");
    let ended = launch.env("SLURM_TASKS_PER_NODE", "8").run().expect(1);
    ended.says(&["no rank came up", "SLURM_JOBID=7", "SLURM_NODELIST=n1", ": unset SLURM_"]);
}

/// Whether a program is on PATH.
fn which(program: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|folder| folder.join(program).is_file())
}

#[test]
fn a_missing_mpirun_is_named() {
    worker("").path("/nowhere").run().expect(2).says(&["`mpirun` is not on PATH"]);
}

#[test]
fn a_missing_worker_is_named_and_not_tried_again() {
    let ended = worker("").worker(Path::new("/nowhere/defusion")).set("cluster.max_restarts=3").run().expect(2);
    let ended = ended.says(&["cannot start /nowhere/defusion", "not restarted"]);
    assert_eq!(ended.times("mpirun -n"), 1, "{}", ended.err);
}

#[test]
fn a_worker_that_cannot_be_loaded_points_at_the_library_path() {
    let script = tempfile::tempdir().unwrap();
    let program = script.path().join("defusion");
    std::fs::write(&program, "#!/bin/sh\nexit 127\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).unwrap();
    worker("").worker(&program).run().expect(2).says(&["LD_LIBRARY_PATH"]);
}

#[test]
fn a_gpu_recipe_on_a_host_without_gpus_says_so() {
    if Path::new("/dev/nvidia0").exists() || Path::new("/dev/dxg").exists() {
        return;
    }
    worker("").set("cluster.device=cuda").run().expect(2).says(&["shows no NVIDIA GPU", "cluster.device=cpu"]);
}

#[test]
fn a_bad_config_is_named_with_file_and_key_once() {
    let yaml = "name: t\nrun: r\ndata: {shards: s, datasets: [{name: d}], crops: 256}\n";
    worker("").yaml(yaml).run().expect(2).says(&["test.yaml", "unknown field `crops`"]);
    let ended = worker("").yaml(yaml).ranks(2, &[]).run().expect(2);
    assert_eq!(ended.times("unknown field `crops`"), 1, "{}", ended.err);
}

#[test]
fn the_launcher_never_loads_libtorch() {
    let ldd = std::process::Command::new("ldd").arg(launcher()).output().expect("ldd");
    let libraries = String::from_utf8_lossy(&ldd.stdout).into_owned();
    assert!(libraries.contains("libmpi") && !libraries.contains("torch"), "{libraries}");
}
