//! Ranks for tests: a test starts its own program again under `mpirun`, as many times as there are ranks.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use defusion_parallel::{Collective, ParallelError, Platform, ThreadedCollective};

/// In the environment of a rank: which transport.
const TRANSPORT: &str = "DEFUSION_TEST_TRANSPORT";
/// In the environment of a rank: the stand-in's library.
const LIBRARY: &str = "DEFUSION_TEST_LIBRARY";

/// Whether this process is a rank that `start` has started.
pub fn is_rank() -> bool {
    std::env::var_os(TRANSPORT).is_some()
}

/// Runs `body` on each of two ranks over MPI, and fails the test `name` (with its module) where it fails on one.
pub fn two_ranks(name: &str, body: impl FnOnce(Arc<dyn Collective>)) {
    if !is_rank() {
        assert_success(&start(2, name, "mpi", &[]));
        return;
    }
    let comm = join(Duration::from_secs(60)).expect("ranks meet");
    body(Arc::clone(&comm));
    comm.finish().expect("ranks part in order");
}

/// Starts this program's test `name` on so many ranks and waits for their end. What they say goes through files: mpirun
/// can lose the last words of a rank on its way out.
pub fn start(ranks: u32, name: &str, transport: &str, env: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new("mpirun");
    command
        .args(["-n", &ranks.to_string(), "--oversubscribe", "--bind-to", "none", "--timeout", "120"])
        .args(["sh", "-c", r#"exec "$0" "$@" > "$DEFUSION_TEST_SAID/$OMPI_COMM_WORLD_RANK" 2>&1"#])
        .arg(std::env::current_exe().expect("the test's own path"))
        .args([name, "--exact", "--nocapture", "--include-ignored"])
        .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
        .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
        .env("OMPI_MCA_mpi_yield_when_idle", "1")
        .env("OMP_NUM_THREADS", "1")
        .env("DEFUSION_TEST_SAID", folder.path())
        .env(TRANSPORT, transport);
    if transport == "nccl" {
        command.env(LIBRARY, stand_in());
    }
    let mut output = command.envs(env.iter().copied()).output().expect("mpirun runs");
    for rank in 0..ranks {
        output.stdout.extend(std::fs::read(folder.path().join(rank.to_string())).unwrap_or_default());
    }
    output
}

/// Joins the other ranks over the transport that `start` was told.
pub fn join(timeout: Duration) -> Result<Arc<dyn Collective>, ParallelError> {
    tch::set_num_threads(1);
    Ok(Arc::new(match std::env::var(TRANSPORT).as_deref() {
        Ok("nccl") => {
            let library = std::env::var_os(LIBRARY).map(PathBuf::from).expect("a library");
            ThreadedCollective::nccl(Platform::host(library), Some(timeout))?
        }
        _ => ThreadedCollective::mpi(Some(timeout))?,
    }))
}

/// The library that stands in for NCCL and the CUDA driver, compiled once.
fn stand_in() -> &'static PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parallel/stand_in.cpp");
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let (library, unfinished) = (folder.join("libstandin.so"), folder.join(format!("{}.so", std::process::id())));
        let compiled = Command::new("c++")
            .args(["-std=c++20", "-O1", "-fPIC", "-shared", "-pthread", "-Wall", "-Wextra", "-Werror", "-o"])
            .args([&unfinished, &PathBuf::from(source)])
            .output()
            .expect("c++ runs");
        assert_success(&compiled);
        std::fs::rename(unfinished, &library).expect("library in place");
        library
    })
}

pub fn assert_success(output: &Output) {
    assert!(output.status.success(), "ended with {}:\n{}", output.status, transcript(output));
}

pub fn transcript(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
