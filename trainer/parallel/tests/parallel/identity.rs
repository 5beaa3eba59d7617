//! The real NCCL, as far as it goes without a GPU.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use defusion_parallel::{ReduceOp, nccl_identity};
use tch::Tensor;

use crate::harness::{assert_success, is_rank, join, start};

/// In the environment of a rank: the library.
const NCCL: &str = "DEFUSION_TEST_NCCL";

/// `libnccl.so.2` of the wheel that PyTorch depends on.
fn installed() -> PathBuf {
    let python = std::env::var("DEFUSION_ORACLE_PYTHON").expect("DEFUSION_ORACLE_PYTHON: run scripts/test --oracles");
    let script = "import nvidia.nccl; print(list(nvidia.nccl.__path__)[0])";
    let output = Command::new(python).args(["-c", script]).output().expect("Python runs");
    assert_success(&output);
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()).join("lib/libnccl.so.2")
}

#[test]
#[ignore = "needs NVIDIA's wheel of NCCL: scripts/test --oracles"]
fn oracle_nccl_gives_an_identity_that_both_ranks_share() {
    const TEST: &str = "identity::oracle_nccl_gives_an_identity_that_both_ranks_share";
    if !is_rank() {
        let library = installed();
        return assert_success(&start(2, TEST, "mpi", &[(NCCL, library.to_str().expect("a plain path"))]));
    }
    let comm = join(Duration::from_secs(60)).expect("ranks meet");
    let library = PathBuf::from(std::env::var_os(NCCL).expect("a library"));
    let (version, own) = nccl_identity(Some(&library)).expect("NCCL loads without a GPU");
    assert!(version >= 21400, "version {version}");
    assert_eq!(own.len(), 128);
    let mut shared = own.clone();
    comm.broadcast_bytes(&mut shared, 0, "identity").unwrap();
    assert_eq!(shared == own, comm.rank() == 0, "each rank would have made another one");
    let mut sum = Tensor::from_slice(&shared.iter().map(|&b| i64::from(b)).collect::<Vec<_>>());
    comm.all_reduce(&mut sum, ReduceOp::Max, "the same everywhere?").unwrap();
    assert_eq!(Vec::<i64>::try_from(sum).unwrap(), shared.iter().map(|&b| i64::from(b)).collect::<Vec<_>>());
    comm.finish().expect("ranks part in order");
}
