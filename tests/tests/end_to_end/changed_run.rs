//! A run that is started again with something changed: what may change goes on, what may not is refused by name.

use defusion_tests::{Sandbox, assert_success, checkpoint_digests, defusion_data, mpirun, transcript, write_images};

const USAGE: i32 = 2;

#[test]
fn a_finished_run_goes_on_with_more_iterations() {
    let sandbox = Sandbox::with_shards();
    let start = |iterations: u32, more: &[&str]| {
        let iterations = format!("diffusion.iterations={iterations}");
        let sets: Vec<&str> =
            ["tokenizer.iterations=2", iterations.as_str()].into_iter().chain(more.to_vec()).collect();
        mpirun(2).args(sandbox.config_args("run", &sets)).output().expect("mpirun runs")
    };
    assert_success(&start(2, &[]));
    let first = checkpoint_digests(&sandbox.path("run"), "2-diffusion-000000002");
    let more = start(4, &["diffusion.sampler.eta=0.5", "diffusion.step.bucket_mib=1"]);
    assert_success(&more);
    let said = transcript(&more);
    assert!(said.contains("resuming from 2-diffusion-000000002"), "{said}");
    assert!(said.contains("diffusion.iterations was 2, is 4: the learning rate's cosine"), "{said}");
    assert_ne!(first, checkpoint_digests(&sandbox.path("run"), "2-diffusion-000000004"));

    for (sets, want) in [
        (&["seed=5", "diffusion.lr.base=0.1"][..], ["seed was 1, is 5", "diffusion.lr.base was 0.001, is 0.1"]),
        (&["tokenizer.iterations=9"], ["tokenizer.iterations was 2, is 9", "stage tokenizer has ended"]),
    ] {
        let refused = start(4, sets);
        let said = transcript(&refused);
        assert_eq!(refused.status.code(), Some(USAGE), "{said}");
        assert!(want.iter().all(|text| said.contains(text)), "{said}");
    }
}

#[test]
fn shards_prepared_anew_are_refused_by_name() {
    let sandbox = Sandbox::with_shards();
    let sets = ["tokenizer.iterations=2", "diffusion.iterations=2"];
    let start = || mpirun(2).args(sandbox.config_args("run", &sets)).output().expect("mpirun runs");
    let prepare = |phase: u32| {
        let images = sandbox.path(&format!("others/{phase}"));
        write_images(&images, 12, phase);
        let mut command = defusion_data();
        command.args(["prepare", "--dataset", "photos", "--layout", "folder", "--overwrite", "--from"]).arg(&images);
        assert_success(&command.arg("--to").arg(sandbox.path("shards")).output().expect("program runs"));
    };
    assert_success(&start());
    // The same images make the same shards.
    prepare(0);
    assert_success(&start());
    prepare(50);
    let refused = start();
    let said = transcript(&refused);
    assert_eq!(refused.status.code(), Some(USAGE), "{said}");
    assert!(said.contains("dataset photos has other shards than this run has been trained on"), "{said}");
    std::fs::remove_file(sandbox.path("run/datasets.json")).expect("the record is there");
    assert_success(&start());
}
