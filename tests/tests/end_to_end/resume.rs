//! A run that is killed at any moment and started again ends with the very weights of an unbroken run.

use defusion_tests::processes::Job;
use defusion_tests::{Sandbox, assert_success, checkpoint_digests, launch, mpirun};
use nix::sys::signal::Signal;

const LAST: [&str; 2] = ["1-tokenizer-000000006", "2-diffusion-000000008"];
const SETS: [&str; 5] = [
    "tokenizer.iterations=6",
    "tokenizer.disc_start=2",
    "diffusion.iterations=8",
    "checkpoints={every: 2, keep: 20}",
    "monitor.log_every=1",
];

/// If a line of progress says `STAGE step N/...`.
fn reached(line: &str, stage: &str, step: u64) -> bool {
    line.contains(stage) && line.contains(&format!("step {step}/"))
}

#[test]
fn a_killed_and_resumed_run_ends_bit_identical() {
    let sandbox = Sandbox::with_shards();
    let unbroken = mpirun(2).args(sandbox.config_args("unbroken", &SETS)).output().expect("mpirun runs");
    assert_success(&unbroken);

    // Each kill strikes another rank, at another step, after a wait that differs from run to run.
    for (k, (stage, step)) in
        [("tokenizer", 1), ("tokenizer", 4), ("diffusion", 2), ("diffusion", 5)].iter().enumerate()
    {
        let run = format!("killed-{k}");
        let mut command = mpirun(2);
        command.args(sandbox.config_args(&run, &SETS));
        let mut job = Job::start(command);
        job.until(|line| reached(line, stage, *step))
            .unwrap_or_else(|| panic!("never reached {stage} {step}:\n{}", job.transcript()));
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |t| t.subsec_nanos());
        let wait = std::time::Duration::from_millis(u64::from(nanos % 97));
        std::thread::sleep(wait);
        let workers = job.workers();
        assert!(!workers.is_empty(), "no worker found:\n{}", job.transcript());
        Job::signal(workers[k % workers.len()], Signal::SIGKILL);
        assert!(!job.wait().success(), "a killed worker must not look like success:\n{}", job.transcript());

        let resumed = mpirun(2).args(sandbox.config_args(&run, &SETS)).output().expect("mpirun runs");
        assert_success(&resumed);
        for checkpoint in LAST {
            assert_eq!(
                checkpoint_digests(&sandbox.path("unbroken"), checkpoint),
                checkpoint_digests(&sandbox.path(&run), checkpoint),
                "killed {wait:?} after {stage} step {step}, resumed: {checkpoint} differs"
            );
        }
    }
}

#[test]
fn a_finished_run_started_again_does_nothing() {
    let sandbox = Sandbox::with_shards();
    let args = sandbox.config_args("run", &["tokenizer.iterations=2", "diffusion.iterations=2"]);
    assert_success(&mpirun(2).args(&args).output().expect("mpirun runs"));
    let before = checkpoint_digests(&sandbox.path("run"), "2-diffusion-000000002");
    assert_success(&mpirun(2).args(&args).output().expect("mpirun runs"));
    assert_eq!(before, checkpoint_digests(&sandbox.path("run"), "2-diffusion-000000002"));
}

#[test]
fn sigterm_leaves_a_checkpoint_and_ends_well() {
    let sandbox = Sandbox::with_shards();
    let sets = ["tokenizer.iterations=2", "diffusion.iterations=100000", "monitor.log_every=1"];
    let mut command = launch();
    command.args(sandbox.config_args("run", &sets));
    let mut job = Job::start(command);
    job.until(|line| reached(line, "diffusion", 3)).expect("training goes on");
    Job::signal(job.pid(), Signal::SIGTERM);
    let status = job.wait();
    assert!(status.success(), "a stop that was asked for is no failure ({status}):\n{}", job.transcript());
    let left = std::fs::read_dir(sandbox.path("run/checkpoints"))
        .expect("checkpoints")
        .filter_map(Result::ok)
        .filter(|e| {
            e.file_name().to_string_lossy().starts_with("2-diffusion-") && e.path().join("manifest.json").exists()
        })
        .count();
    assert!(left > 0, "no checkpoint of stage 2 was left:\n{}", job.transcript());
}
