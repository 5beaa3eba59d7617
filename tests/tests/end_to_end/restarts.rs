//! Restarts are counted between checkpoints: a run that gets on may be killed as often as it likes.

use defusion_tests::processes::Job;
use defusion_tests::{Sandbox, checkpoint_digests, launch};
use nix::sys::signal::Signal;

const SETS: [&str; 5] = [
    "tokenizer.iterations=8",
    "diffusion.iterations=8",
    "checkpoints={every: 4, keep: 20, keep_every: 0}",
    "monitor.log_every=1",
    "cluster={workers_per_node: 2, device: cpu, threads_per_worker: 1, max_restarts: 2, restart_backoff_s: 0.01}",
];

/// Kills one of the workers. Returns false if there is none yet.
fn kill_a_worker(job: &Job, which: usize) -> bool {
    let workers = job.workers();
    let victim = workers.get(which % workers.len().max(1));
    victim.inspect(|pid| Job::signal(**pid, Signal::SIGKILL)).is_some()
}

#[test]
fn a_run_killed_after_each_new_checkpoint_more_often_than_restarts_are_allowed_ends_well() {
    let sandbox = Sandbox::with_shards();
    let mut command = launch();
    command.args(sandbox.config_args("run", &SETS));
    let mut job = Job::start(command);
    // Four checkpoints; the last one ends the run.
    let checkpoints = ["1-tokenizer-000000004", "1-tokenizer-000000008", "2-diffusion-000000004"];
    for (kills, checkpoint) in checkpoints.into_iter().enumerate() {
        let safe = |line: &str| line.contains(checkpoint) && line.ends_with("is safe");
        job.until(safe).unwrap_or_else(|| panic!("no {checkpoint}:\n{}", job.transcript()));
        assert!(kill_a_worker(&job, kills), "no worker found:\n{}", job.transcript());
    }
    let status = job.wait();
    let said = job.transcript();
    assert!(status.success(), "{status}:\n{said}");
    assert_eq!(said.matches("restart 1 of 2 from the newest checkpoint").count(), 3, "{said}");
    assert!(!said.contains("restart 2 of 2"), "{said}");
    assert!(!checkpoint_digests(&sandbox.path("run"), "2-diffusion-000000008").is_empty());
}

#[test]
fn a_run_that_gets_no_further_is_given_up() {
    let sandbox = Sandbox::with_shards();
    let mut command = launch();
    command.args(sandbox.config_args("run", &SETS));
    let mut job = Job::start(command);
    let safe = |line: &str| line.contains("1-tokenizer-000000004") && line.ends_with("is safe");
    job.until(safe).unwrap_or_else(|| panic!("no checkpoint:\n{}", job.transcript()));
    assert!(kill_a_worker(&job, 0));
    for k in 1..=2 {
        let resumed = |line: &str| line.contains("resuming from 1-tokenizer-000000004");
        job.until(resumed).unwrap_or_else(|| panic!("not resumed:\n{}", job.transcript()));
        assert!(kill_a_worker(&job, k), "no worker found:\n{}", job.transcript());
    }
    let status = job.wait();
    let said = job.transcript();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("2 restarts in a row brought no further checkpoint"), "{said}");
}
