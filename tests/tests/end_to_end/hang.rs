//! A rank that hangs ends the job in time, with its name and the collective; a rank that is asked says if it is.

use std::time::{Duration, Instant};

use defusion_tests::processes::Job;
use defusion_tests::{Sandbox, mpirun};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

const EXIT_HUNG: i32 = 3;

/// A job of two ranks that has finished two steps of stage 2, of `iterations`.
fn training(sandbox: &Sandbox, iterations: u32) -> Job {
    let iterations = format!("diffusion.iterations={iterations}");
    let sets = ["tokenizer.iterations=1", &iterations, "monitor.log_every=1", "cluster.hang_timeout_s=16"];
    let mut command = mpirun(2);
    command.args(sandbox.config_args("run", &sets));
    let mut job = Job::start(command);
    job.until(|line| line.contains("diffusion") && line.contains("step 2/")).expect("training goes on");
    job
}

/// The rank of a worker, as MPI has told it.
fn rank(worker: Pid) -> String {
    let environment = std::fs::read(format!("/proc/{worker}/environ")).expect("a running worker");
    let entries = String::from_utf8_lossy(&environment).into_owned();
    let rank = entries.split('\0').find_map(|entry| entry.strip_prefix("OMPI_COMM_WORLD_RANK="));
    rank.expect("a rank of Open MPI").to_owned()
}

#[test]
fn a_stopped_rank_ends_the_job_with_its_name_and_the_collective() {
    let sandbox = Sandbox::with_shards();
    let mut job = training(&sandbox, 100_000);
    let workers = job.workers();
    let stopped = *workers.iter().find(|w| rank(**w) == "1").expect("rank 1's worker");
    Job::signal(stopped, Signal::SIGSTOP);
    let status = job.wait();
    let said = job.transcript();
    assert_eq!(status.code(), Some(EXIT_HUNG), "{said}");
    let error = said.lines().find(|l| l.contains(" s; ")).unwrap_or_else(|| panic!("no collective is named:\n{said}"));
    assert!(error.contains("rank 0: ") && error.contains(" of diffusion, after "), "{error}");
    // Whether rank 1 was stopped before it came to the collective or within it.
    assert!(error.contains("waited 8 s; rank 1 does not answer"), "{error}");
    assert!(said.contains("flight record of rank 0"), "{said}");
    // Its own launcher knows it too.
    let parent = said.lines().find(|l| l.contains("worker is stopped by SIGSTOP")).unwrap_or_else(|| panic!("{said}"));
    assert!(parent.contains("rank 1 on ") && parent.contains("phase diffusion, step "), "{parent}");
    let deadline = Instant::now() + Duration::from_secs(20);
    while nix::sys::signal::kill(stopped, None).is_ok() {
        assert!(Instant::now() < deadline, "the stopped worker outlives its job");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn sigusr1_writes_the_flight_record_and_training_goes_on() {
    let sandbox = Sandbox::with_shards();
    let mut job = training(&sandbox, 40);
    for worker in job.workers() {
        Job::signal(worker, Signal::SIGUSR1);
    }
    let mut missing = vec!["flight record of rank 0", "flight record of rank 1"];
    while !missing.is_empty() {
        let line = job.until(|line| line.contains("flight record of rank")).expect("the job goes on");
        missing.retain(|words| !line.contains(words));
    }
    job.until(|line| line.contains("all-reduce (model bucket 1/") && line.contains("diffusion, after"))
        .expect("the record names collectives and steps");
    let status = job.wait();
    assert!(status.success(), "{status}:\n{}", job.transcript());
}
