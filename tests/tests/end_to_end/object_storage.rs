//! The main job with its shards and its run folder in an S3 bucket.

use defusion_storage::testing::ObjectStorage;
use defusion_tests::processes::Job;
use defusion_tests::{Sandbox, assert_success, defusion, mpirun, transcript};
use nix::sys::signal::Signal;
use safetensors::SafeTensors;

const SETS: [&str; 4] =
    ["tokenizer.iterations=3", "diffusion.iterations=8", "checkpoints.every=2", "monitor.log_every=1"];

/// The weights of a run as `defusion export` writes them.
fn exported(sandbox: &Sandbox, storage: &ObjectStorage, run: &str, to: &str) -> Vec<u8> {
    let mut export = defusion();
    let export = storage.tell(&mut export).args(["export", "--run", run, "--to"]).arg(sandbox.path(to));
    assert_success(&export.output().expect("defusion runs"));
    std::fs::read(sandbox.path(to)).expect("the exported weights")
}

#[test]
#[ignore = "service: needs DEFUSION_WEED, SeaweedFS's binary"]
fn service_a_run_in_a_bucket_survives_a_kill_and_ends_as_one_on_disk() {
    let storage = ObjectStorage::start("defusion");
    let sandbox = Sandbox::with_shards();
    for name in ["photos", "photos-test"] {
        let mut prepare = defusion();
        storage.tell(&mut prepare).args(["data", "prepare", "--dataset", name, "--layout", "folder", "--from"]);
        prepare.arg(sandbox.path(&format!("images/{name}"))).args(["--to", "s3://defusion/shards"]);
        assert_success(&prepare.output().expect("defusion runs"));
    }
    let on_disk = mpirun(2).args(sandbox.config_args("disk", &SETS)).output().expect("mpirun runs");
    assert_success(&on_disk);

    let cache = format!("data.cache.dir={}", sandbox.path("cache").display());
    let in_bucket = ["run=s3://defusion/run", "data.shards=s3://defusion/shards", cache.as_str()];
    let sets: Vec<&str> = SETS.into_iter().chain(in_bucket).collect();
    let train = || {
        let mut command = mpirun(2);
        storage.tell(&mut command).args(sandbox.config_args("unused", &sets));
        command
    };
    let mut job = Job::start(train());
    job.until(|line| line.contains("checkpoint 2-diffusion-000000004")).expect("a checkpoint in the bucket");
    Job::signal(job.workers()[0], Signal::SIGKILL);
    assert!(!job.wait().success(), "{}", job.transcript());
    let resumed = train().output().expect("mpirun runs");
    assert_success(&resumed);
    let said = transcript(&resumed);
    assert!(said.contains("resuming from 2-diffusion-"), "{said}");
    assert!(!said.contains(storage.secret()) && !job.transcript().contains(storage.secret()), "a secret was printed");

    let disk = exported(&sandbox, &storage, &sandbox.path("disk").display().to_string(), "disk.safetensors");
    let bucket = exported(&sandbox, &storage, "s3://defusion/run", "bucket.safetensors");
    // Their headers name their runs; the tensors are the same, bit for bit.
    let (disk, bucket) =
        (SafeTensors::deserialize(&disk).expect("weights"), SafeTensors::deserialize(&bucket).expect("weights"));
    assert_eq!(disk.len(), bucket.len());
    for (name, tensor) in disk.tensors() {
        assert_eq!(tensor.data(), bucket.tensor(&name).expect("the same names").data(), "{name}");
    }

    // The charts are there too, in segments.
    let mut evaluate = defusion();
    let evaluate = storage.tell(&mut evaluate).arg("evaluate").args(sandbox.config_args("unused", &sets));
    let evaluate = evaluate.arg("--out").arg(sandbox.path("scores")).output().expect("defusion runs");
    assert_success(&evaluate);
    assert!(sandbox.path("scores/report.json").exists());
}
