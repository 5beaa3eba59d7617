//! The same steps over MPI and over NCCL: the same bits.

use std::time::Duration;

use defusion_parallel::{BucketSizes, ReduceOp};
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

use crate::harness::{assert_success, is_rank, join, start, transcript};
use crate::networks::{Net, batch, bytes, step};

const TEST: &str = "transports::gradients_over_nccl_are_those_over_mpi";

#[test]
fn gradients_over_nccl_are_those_over_mpi() {
    if is_rank() {
        return train();
    }
    let digests = |transport: &str| {
        let output = start(2, TEST, transport, &[]);
        assert_success(&output);
        let said = transcript(&output);
        let mut digests: Vec<String> =
            said.lines().filter_map(|l| Some(l.split_once("DIGEST ")?.1.to_owned())).collect();
        digests.sort();
        assert_eq!(digests.len(), 2 * 5, "{said}");
        digests
    };
    assert_eq!(digests("mpi"), digests("nccl"));
}

fn train() {
    let comm = join(Duration::from_secs(60)).expect("ranks meet");
    let net = Net::new(7 + comm.rank() as i64);
    let mut dp = net.parallel("net", &comm, BucketSizes { full: 1024, edge: 256 });
    for k in 0..5 {
        step(&mut dp, &net, &comm, &batch(k, 8));
        let digest = hex::encode(Sha256::digest(bytes(&dp.gradients())));
        eprintln!("DIGEST step {k} rank {} {digest}", comm.rank());
    }
    comm.finish().expect("ranks part in order");
}

#[test]
fn every_kind_and_layout_goes_over_nccl() {
    const TEST: &str = "transports::every_kind_and_layout_goes_over_nccl";
    if !is_rank() {
        return assert_success(&start(2, TEST, "nccl", &[]));
    }
    let comm = join(Duration::from_secs(60)).expect("ranks meet");
    let rank = comm.rank() as f64;
    for kind in [Kind::Float, Kind::Double, Kind::Int64, Kind::BFloat16] {
        let ramp = || Tensor::arange(5000, (kind, Device::Cpu)).fmod(100.0);
        let (mut sum, mut max) = (ramp() + rank, ramp() * (1.0 - rank));
        comm.all_reduce(&mut sum, ReduceOp::Sum, "sum").unwrap();
        comm.all_reduce(&mut max, ReduceOp::Max, "max").unwrap();
        assert_eq!(sum, ramp() * 2.0 + 1.0, "{kind:?}");
        assert_eq!(max, ramp(), "{kind:?}");
    }
    // Not contiguous: reduced in a copy, which comes back.
    let columns = Tensor::full([64, 8], rank + 1.0, (Kind::Float, Device::Cpu));
    let mut turned = columns.tr();
    comm.all_reduce(&mut turned, ReduceOp::Sum, "turned").unwrap();
    assert_eq!(columns, columns.full_like(3.0));
    let _ = columns.tr().fill_(rank + 1.0);
    comm.broadcast(&mut columns.tr(), 1, "turned").unwrap();
    assert_eq!(columns, columns.full_like(2.0));
    // What is not a tensor of the device goes over MPI, in the same order on all ranks.
    assert!(comm.any(comm.rank() == 1, "one of us?").unwrap());
    assert!(!comm.any(false, "nobody?").unwrap());
    let mut news = if comm.rank() == 1 { b"news".to_vec() } else { Vec::new() };
    comm.broadcast_bytes(&mut news, 1, "news").unwrap();
    assert_eq!(news, b"news");
    comm.barrier("all here").unwrap();
    // Several at a time, waited for together.
    let mut many: Vec<Tensor> = (0..8).map(|k| Tensor::full([1000], k, (Kind::Float, Device::Cpu))).collect();
    let pending: Vec<_> = many.iter().map(|t| comm.start_all_reduce(t, ReduceOp::Sum, "many")).collect();
    pending.into_iter().for_each(|p| {
        p.wait().unwrap();
    });
    for (k, t) in many.drain(..).enumerate() {
        assert_eq!(t, Tensor::full([1000], 2 * k as i64, (Kind::Float, Device::Cpu)));
    }
    let record = comm.flight_record();
    comm.finish().expect("ranks part in order");
    let unfinished: Vec<_> = record.entries().into_iter().filter(|e| e.ended.is_none()).collect();
    assert!(unfinished.is_empty(), "{unfinished:?}");
}
