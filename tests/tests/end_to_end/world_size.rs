//! One worker and two workers consume the same samples, and their losses agree within rounding.

use std::path::Path;

use defusion_tests::{Sandbox, assert_success, mpirun};
use serde_json::Value;

fn lines(run: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).expect("metrics.jsonl");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// Trains at a rate at which losses of the same samples agree.
///
/// Adam divides a gradient by its own size, so at a high rate the rounding of tiny gradients grows from step to step until
/// codes flip. At this rate what differs is the rounding itself.
fn train(sandbox: &Sandbox, run: &str, workers: u32, sets: &[&str]) -> Vec<Value> {
    let common = [
        "tokenizer.iterations=6",
        "tokenizer.disc_start=2",
        "tokenizer.lr.base=1e-5",
        "diffusion.iterations=8",
        "diffusion.lr={base: 1e-5, min: 1e-6}",
        "monitor.log_every=1",
        "evaluation.validate_every=4",
    ];
    let workers_set = format!("cluster.workers_per_node={workers}");
    let sets: Vec<&str> = common.into_iter().chain(sets.iter().copied()).chain([workers_set.as_str()]).collect();
    assert_success(&mpirun(workers).args(sandbox.config_args(run, &sets)).output().expect("mpirun runs"));
    lines(&sandbox.path(run))
}

/// Fails unless both consumed the same samples, with the same losses and the like within rounding.
fn assert_alike(one: &[Value], other: &[Value]) {
    let steps = |lines: &[Value]| lines.iter().filter(|l| l.get("loss").is_some()).cloned().collect::<Vec<_>>();
    let (one, other) = (steps(one), steps(other));
    assert_eq!((one.len(), other.len()), (14, 14));
    for (a, b) in one.iter().zip(&other) {
        assert_eq!((&a["stage"], &a["step"]), (&b["stage"], &b["step"]));
        // A digest of the keys of all samples of the step, summed over the workers.
        assert_eq!(
            a["samples_digest"], b["samples_digest"],
            "step {} of {} consumed other samples",
            a["step"], a["stage"]
        );
        let names = ["loss", "reconstruction_loss", "codebook_loss", "discriminator_loss", "zero_token_share"];
        let alike = [("grad_norm", 1e-3), ("codebook_used", 1e-6), ("codebook_perplexity", 1e-3)];
        for (name, tolerance) in names.map(|name| (name, 1e-4)).into_iter().chain(alike) {
            let (x, y) = (a.get(name).and_then(Value::as_f64), b.get(name).and_then(Value::as_f64));
            let (Some(x), Some(y)) = (x, y) else {
                assert!(x == y && name != "loss", "{name}: {x:?} and {y:?}");
                continue;
            };
            assert!(
                (x - y).abs() <= tolerance * x.abs().max(1e-3),
                "{} step {}, {name}: {x} with one, {y} with more",
                a["stage"],
                a["step"]
            );
        }
    }
    let ends = |stage: &str, name: &str| one.iter().any(|l| l["stage"] == stage && l.get(name).is_some());
    assert!(ends("tokenizer", "discriminator_loss") && ends("diffusion", "zero_token_share"));
}

#[test]
fn losses_agree_at_one_and_two_workers() {
    let sandbox = Sandbox::with_shards();
    let (one, two) = (train(&sandbox, "one", 1, &[]), train(&sandbox, "two", 2, &[]));
    let validated = |lines: &[Value]| -> Vec<(u64, f64)> {
        let chart =
            |l: &Value| Some((l["step"].as_u64()?, l.get("validation/psnr/photos-test/gaussian_noise")?.as_f64()?));
        lines.iter().filter_map(chart).collect()
    };
    // Two workers each restore a half of the three images, padded to equal rounds; the means are of all of them.
    let (a, b) = (validated(&one), validated(&two));
    assert_eq!((a.len(), b.len(), a[0].0), (1, 1, 4));
    assert!((a[0].1 - b[0].1).abs() < 0.01 && a[0].1 > 1.0, "validation: {a:?} with one worker, {b:?} with two");
    assert_alike(&one, &two);
}

/// Of a batch of four, three workers take one, one and two samples.
#[test]
fn a_batch_that_does_not_divide_is_dealt_unevenly() {
    let sandbox = Sandbox::with_shards();
    assert_alike(&train(&sandbox, "one", 1, &[]), &train(&sandbox, "three", 3, &[]));
}

/// In stage 1 two of four workers have no sample, the first among them; in stage 2 all have one.
#[test]
fn workers_without_a_sample_take_part() {
    let sandbox = Sandbox::with_shards();
    let sets = ["tokenizer.global_batch=2"];
    assert_alike(&train(&sandbox, "one", 1, &sets), &train(&sandbox, "four", 4, &sets));
}
