//! One worker and two workers consume the same samples, and their losses agree within rounding.

use std::path::Path;

use defusion_tests::{Sandbox, assert_success, mpirun};
use serde_json::Value;

fn lines(run: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).expect("metrics.jsonl");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

#[test]
fn losses_agree_at_one_and_two_workers() {
    let sandbox = Sandbox::with_shards();
    // Adam divides a gradient by its own size, so at a high rate the rounding of tiny gradients grows from step to step
    // until codes flip. At this rate what differs is the rounding itself.
    let common = [
        "tokenizer.iterations=6",
        "tokenizer.disc_start=2",
        "tokenizer.lr.base=1e-5",
        "diffusion.iterations=8",
        "diffusion.lr={base: 1e-5, min: 1e-6}",
        "monitor.log_every=1",
        "evaluation.validate_every=4",
    ];
    for (run, workers) in [("one", 1), ("two", 2)] {
        let workers_set = format!("cluster.workers_per_node={workers}");
        let sets: Vec<&str> = common.into_iter().chain([workers_set.as_str()]).collect();
        assert_success(&mpirun(workers).args(sandbox.config_args(run, &sets)).output().expect("mpirun runs"));
    }
    let (one, two) = (lines(&sandbox.path("one")), lines(&sandbox.path("two")));
    let validated = |lines: &[Value]| -> Vec<(u64, f64)> {
        let chart =
            |l: &Value| Some((l["step"].as_u64()?, l.get("validation/psnr/photos-test/gaussian_noise")?.as_f64()?));
        lines.iter().filter_map(chart).collect()
    };
    // Two workers each restore a half of the three images, padded to equal rounds; the means are of all of them.
    let (a, b) = (validated(&one), validated(&two));
    assert_eq!((a.len(), b.len(), a[0].0), (1, 1, 4));
    assert!((a[0].1 - b[0].1).abs() < 0.01 && a[0].1 > 1.0, "validation: {a:?} with one worker, {b:?} with two");
    let steps = |lines: &[Value]| lines.iter().filter(|l| l.get("loss").is_some()).count();
    assert_eq!(steps(&one), 14);
    assert_eq!(steps(&two), 14);
    for (a, b) in one.iter().zip(&two).filter(|(a, _)| a.get("loss").is_some()) {
        assert_eq!((&a["stage"], &a["step"]), (&b["stage"], &b["step"]));
        // A digest of the keys of all samples of the step, summed over the workers.
        assert_eq!(
            a["samples_digest"], b["samples_digest"],
            "step {} of {} consumed other samples",
            a["step"], a["stage"]
        );
        let (x, y) = (a["loss"].as_f64().expect("loss"), b["loss"].as_f64().expect("loss"));
        assert!(
            (x - y).abs() <= 1e-4 * x.abs().max(1e-3),
            "{} step {}: {x} with one, {y} with two",
            a["stage"],
            a["step"]
        );
    }
}
