//! PyTorch's own data parallelism as the peer.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use defusion_parallel::BucketSizes;
use defusion_trainer::optim::{self, AdamW};
use tch::Tensor;

use crate::ADAM;
use crate::harness::{assert_success, is_rank, join, start};
use crate::networks::{Net, batch, part};

const TEST: &str = "peer::oracle_ddp_of_pytorch_has_the_same_losses";
/// In the environment of a rank: the folder with the case.
const FOLDER: &str = "DEFUSION_TEST_FOLDER";
const STEPS: i64 = 20;

/// Two processes each, the same first weights and batches: the same losses for 20 steps.
#[test]
#[ignore = "needs PyTorch: scripts/test --oracles"]
fn oracle_ddp_of_pytorch_has_the_same_losses() {
    if is_rank() {
        return train(&PathBuf::from(std::env::var_os(FOLDER).expect("a folder")));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let batches: Vec<(Tensor, Tensor)> = (0..STEPS).map(|k| batch(k, 8)).collect();
    let stack = |f: fn(&(Tensor, Tensor)) -> &Tensor| Tensor::stack(&batches.iter().map(f).collect::<Vec<_>>(), 0);
    let mut tensors = Net::new(7).parameters();
    tensors.iter_mut().for_each(|(_, p)| *p = p.detach());
    tensors.extend([("x".to_owned(), stack(|b| &b.0)), ("y".to_owned(), stack(|b| &b.1))]);
    Tensor::write_safetensors(&tensors, path("case.safetensors")).expect("case written");

    let python = std::env::var("DEFUSION_ORACLE_PYTHON").expect("DEFUSION_ORACLE_PYTHON: run scripts/test --oracles");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/oracles/ddp/train.py");
    // Its libtorch is its own.
    let theirs = Command::new(python)
        .arg(script)
        .args([path("case.safetensors"), path("theirs.json")])
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .expect("Python runs");
    assert_success(&theirs);
    assert_success(&start(2, TEST, "mpi", &[(FOLDER, folder.path().to_str().expect("a plain path"))]));

    let read = |name: &str| -> Vec<f64> {
        serde_json::from_str(&std::fs::read_to_string(path(name)).expect("losses")).expect("a list of numbers")
    };
    let (ours, theirs) = (read("ours.json"), read("theirs.json"));
    assert_eq!((ours.len(), theirs.len()), (STEPS as usize, STEPS as usize));
    for (k, (a, b)) in ours.iter().zip(&theirs).enumerate() {
        assert!((a - b).abs() <= 1e-4, "step {k}: {a}, PyTorch {b}");
    }
}

fn train(folder: &std::path::Path) {
    let comm = join(Duration::from_secs(60)).expect("ranks meet");
    let net = Net::new(7);
    let mut dp = net.parallel("net", &comm, BucketSizes { full: 2048, edge: 512 });
    let mut adam = AdamW::new(&net.parameters(), ADAM).unwrap();
    let mut losses = Vec::new();
    for k in 0..STEPS {
        dp.begin_step(1).unwrap();
        dp.backward(&net.loss(&part(&batch(k, 8), comm.rank(), 2)), true).unwrap();
        let report = dp.finish().unwrap();
        let gradients = dp.gradients();
        let check = optim::grad_check(&gradients, &report.mean_loss, 0.0).unwrap();
        adam.step(&gradients, &check, 1e-3).unwrap();
        losses.push(report.mean_loss.double_value(&[]));
    }
    if comm.rank() == 0 {
        std::fs::write(folder.join("ours.json"), serde_json::to_string(&losses).unwrap()).unwrap();
    }
    comm.finish().expect("ranks part in order");
}
