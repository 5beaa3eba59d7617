//! A run that is asked to stop leaves a checkpoint, under a bare mpirun too, and the same command goes on from it.

use std::path::Path;

use defusion_tests::processes::Job;
use defusion_tests::{Sandbox, mpirun};
use nix::sys::signal::Signal;

/// The furthest step of stage 2 that a whole checkpoint holds; 0 without one.
fn saved(run: &Path) -> u64 {
    let checkpoints = std::fs::read_dir(run.join("checkpoints")).into_iter().flatten().filter_map(Result::ok);
    let whole = checkpoints.filter(|entry| entry.path().join("manifest.json").exists());
    let step = |name: String| name.strip_prefix("2-diffusion-")?.split('-').next()?.parse().ok();
    whole.filter_map(|entry| step(entry.file_name().to_string_lossy().into_owned())).max().unwrap_or(0)
}

#[test]
fn a_bare_mpirun_that_is_asked_to_end_leaves_a_checkpoint() {
    let sandbox = Sandbox::with_shards();
    for (signal, well) in
        [(Signal::SIGTERM, false), (Signal::SIGINT, false), (Signal::SIGUSR1, true), (Signal::SIGUSR2, true)]
    {
        let run = signal.as_str();
        // No checkpoint is due but the one that is asked for.
        let sets = [
            "tokenizer.iterations=1",
            "diffusion.iterations=100000",
            "checkpoints={every: 1000000, keep: 2, keep_every: 0}",
        ];
        let args = sandbox.config_args(run, &sets);
        let mut command = mpirun(2);
        command.args(&args);
        let mut job = Job::start(command);
        let reached = |line: &str| line.contains("diffusion") && line.contains("step 3/");
        job.until(reached).unwrap_or_else(|| panic!("{signal}: no third step:\n{}", job.transcript()));
        Job::signal(job.pid(), signal);
        let status = job.wait();
        assert_eq!(status.success(), well, "{signal}: {status}:\n{}", job.transcript());
        let step = saved(&sandbox.path(run));
        assert!(step >= 3, "{signal}: step {step} is kept:\n{}", job.transcript());

        let mut again = mpirun(2);
        again.args(&args);
        let mut again = Job::start(again);
        let resumed = format!("resuming from 2-diffusion-{step:09}");
        again.until(|line| line.contains(&resumed)).unwrap_or_else(|| panic!("{signal}:\n{}", again.transcript()));
    }
}
