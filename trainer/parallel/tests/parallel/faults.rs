//! NCCL that fails, hangs or is missing, and ranks that do not come: errors that name rank and collective, in time.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use defusion_config::protocol::EXIT_HUNG;
use defusion_parallel::{ParallelError, Platform, ReduceOp, ThreadedCollective};
use tch::{Device, Kind, Tensor};

use crate::harness::{is_rank, join, start, transcript};

/// In the environment of a rank: the folder in which it leaves its error.
const ERRORS: &str = "DEFUSION_TEST_ERRORS";
const TIMEOUT: Duration = Duration::from_secs(2);

/// Runs test `name` on two ranks over `transport` with the stand-in's faults; returns each rank's error.
fn errors(name: &str, transport: &str, env: &[(&str, &str)]) -> [String; 2] {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("a plain path");
    let output = start(2, name, transport, &[env, &[(ERRORS, path)]].concat());
    [0, 1].map(|rank| {
        std::fs::read_to_string(left_by(folder.path(), rank))
            .unwrap_or_else(|_| panic!("rank {rank} left no error:\n{}", transcript(&output)))
    })
}

fn left_by(folder: &Path, rank: usize) -> PathBuf {
    folder.join(format!("rank-{rank}"))
}

/// Leaves this rank's error and waits for the other's: mpirun ends all ranks when the first one ends.
fn leave(rank: usize, error: &ParallelError) {
    let folder = PathBuf::from(std::env::var_os(ERRORS).expect("a folder"));
    std::fs::write(left_by(&folder, rank), error.to_string()).expect("error written");
    let deadline = Instant::now() + 10 * TIMEOUT;
    while !left_by(&folder, 1 - rank).exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Reduces until that fails. `before` is called before each.
fn reduce_until_it_fails(before: impl Fn(usize, u32)) {
    let rank = std::env::var("OMPI_COMM_WORLD_RANK").expect("mpirun").parse().expect("a number");
    let failed = join(TIMEOUT).and_then(|comm| {
        comm.flight_record().enter("a test, after 7 steps");
        (0..20).try_for_each(|k| {
            before(comm.rank(), k);
            let mut t = Tensor::ones([1000], (Kind::Float, Device::Cpu));
            comm.all_reduce(&mut t, ReduceOp::Sum, &format!("probe {k}"))
        })
    });
    leave(rank, &failed.expect_err("it fails"));
}

fn assert_names(error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "{word:?} is missing: {error}");
    }
}

#[test]
fn an_error_of_nccl_names_rank_and_collective() {
    const TEST: &str = "faults::an_error_of_nccl_names_rank_and_collective";
    if is_rank() {
        return reduce_until_it_fails(|_, _| {});
    }
    let fault = [("STAND_IN_FAULT", "error"), ("STAND_IN_RANK", "1"), ("STAND_IN_CALL", "3")];
    let [other, own] = errors(TEST, "nccl", &fault);
    assert_names(&own, &["rank 1", "all-reduce #", "(probe 3, 4000 bytes) of a test, after 7 steps", "cuda"]);
    assert_names(&other, &["rank 0", "(probe 3, 4000 bytes)", "remote"]);
}

#[test]
fn an_asynchronous_error_names_rank_and_collective() {
    const TEST: &str = "faults::an_asynchronous_error_names_rank_and_collective";
    if is_rank() {
        return reduce_until_it_fails(|_, _| {});
    }
    let fault = [("STAND_IN_FAULT", "async"), ("STAND_IN_RANK", "0"), ("STAND_IN_CALL", "5")];
    let [own, other] = errors(TEST, "nccl", &fault);
    assert_names(&own, &["rank 0", "all-reduce #", "(probe 5, 4000 bytes)", "system"]);
    assert_names(&other, &["rank 1", "(probe 5, 4000 bytes)", "remote"]);
}

#[test]
fn an_error_of_the_device_names_rank_and_collective() {
    const TEST: &str = "faults::an_error_of_the_device_names_rank_and_collective";
    if is_rank() {
        return reduce_until_it_fails(|_, _| {});
    }
    let fault = [("STAND_IN_FAULT", "device"), ("STAND_IN_RANK", "1"), ("STAND_IN_CALL", "2")];
    let [_, own] = errors(TEST, "nccl", &fault);
    // CUDA tells it of whatever is asked about next.
    assert_names(&own, &["rank 1", "all-reduce #", "(probe ", "CUDA driver: cuEventQuery", "code 719"]);
}

#[test]
fn a_device_that_hangs_ends_the_wait() {
    const TEST: &str = "faults::a_device_that_hangs_ends_the_wait";
    if is_rank() {
        return reduce_until_it_fails(|_, _| {});
    }
    let fault = [("STAND_IN_FAULT", "hang"), ("STAND_IN_RANK", "1"), ("STAND_IN_CALL", "4")];
    let errors = errors(TEST, "nccl", &fault);
    for (rank, error) in errors.iter().enumerate() {
        assert_names(error, &[&format!("rank {rank}"), "all-reduce #", "(probe 4, 4000 bytes)"]);
    }
    // The first to time out ends it for both.
    assert!(errors.iter().any(|e| e.contains("waited 2 s") && e.contains("all ranks have come")), "{errors:?}");
}

#[test]
fn a_start_of_nccl_that_hangs_ends() {
    const TEST: &str = "faults::a_start_of_nccl_that_hangs_ends";
    if is_rank() {
        return reduce_until_it_fails(|_, _| {});
    }
    let errors = errors(TEST, "nccl", &[("STAND_IN_FAULT", "start"), ("STAND_IN_RANK", "1")]);
    for (rank, error) in errors.iter().enumerate() {
        assert_names(error, &[&format!("rank {rank}"), "NCCL communicator", "waited 2 s"]);
    }
}

/// Rank 1 comes to the fourth reduction after rank 0 has given up.
fn rank_1_comes_late() {
    reduce_until_it_fails(|rank, k| {
        if (rank, k) == (1, 3) {
            let folder = PathBuf::from(std::env::var_os(ERRORS).expect("a folder"));
            while !left_by(&folder, 0).exists() {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    });
}

const ABSENT: [&str; 4] =
    ["rank 0", "(probe 3, 4000 bytes) of a test, after 7 steps", "waited 2 s", "rank 1 has not come"];

/// Rank 1 waits for data that rank 0 does not send any more. MPI may write it at any time, so its process ends.
#[test]
fn a_rank_that_comes_late_is_named_and_ended_over_mpi() {
    const TEST: &str = "faults::a_rank_that_comes_late_is_named_and_ended_over_mpi";
    if is_rank() {
        return rank_1_comes_late();
    }
    let folder = tempfile::tempdir().expect("a folder");
    let output = start(2, TEST, "mpi", &[(ERRORS, folder.path().to_str().expect("a plain path"))]);
    let said = transcript(&output);
    assert_names(&std::fs::read_to_string(left_by(folder.path(), 0)).expect("rank 0's error"), &ABSENT);
    assert_names(&said, &["rank 1: all-reduce #3 (probe 3, 4000 bytes)", "flight record of rank 1"]);
    assert_eq!(output.status.code(), Some(EXIT_HUNG), "{said}");
}

/// The transfer of a gigabyte takes longer than rank 1 lives.
#[test]
fn a_rank_that_is_stopped_while_data_is_on_its_way_is_named() {
    const TEST: &str = "faults::a_rank_that_is_stopped_while_data_is_on_its_way_is_named";
    if is_rank() {
        let comm = join(TIMEOUT).expect("ranks meet");
        let mut t = Tensor::ones([1 << 28], (Kind::Float, Device::Cpu));
        comm.barrier("both are ready").expect("ranks meet");
        if comm.rank() == 1 {
            std::thread::spawn(|| {
                std::thread::sleep(Duration::from_millis(100));
                Command::new("kill").args(["-STOP", &std::process::id().to_string()]).status()
            });
        }
        let reduced = comm.all_reduce(&mut t, ReduceOp::Sum, "large");
        panic!("rank {} has not been ended: {reduced:?}", comm.rank());
    }
    let output = start(2, TEST, "mpi", &[]);
    let said = transcript(&output);
    assert_names(&said, &["rank 0: all-reduce #1 (large, 1073741824 bytes): waited 2 s; rank 1 does not answer"]);
    assert_names(&said, &["flight record of rank 0"]);
    assert_eq!(output.status.code(), Some(EXIT_HUNG), "{said}");
}

#[test]
fn a_rank_that_comes_late_is_named_over_nccl() {
    const TEST: &str = "faults::a_rank_that_comes_late_is_named_over_nccl";
    if is_rank() {
        return rank_1_comes_late();
    }
    let [error, late] = errors(TEST, "nccl", &[]);
    assert_names(&error, &ABSENT);
    assert_names(&late, &["rank 1", "(probe 3, 4000 bytes)", "remote"]);
}

#[test]
fn a_library_that_one_rank_lacks_ends_the_start_on_both() {
    const TEST: &str = "faults::a_library_that_one_rank_lacks_ends_the_start_on_both";
    if is_rank() {
        let rank: usize = std::env::var("OMPI_COMM_WORLD_RANK").expect("mpirun").parse().expect("a number");
        let started = match rank {
            1 => ThreadedCollective::nccl(Platform::host("/nowhere/libnccl.so.2".into()), Some(TIMEOUT)).map(|_| ()),
            _ => join(TIMEOUT).map(|_| ()),
        };
        return leave(rank, &started.expect_err("it fails"));
    }
    let [other, own] = errors(TEST, "nccl", &[]);
    assert_names(&own, &["shared library: ", "/nowhere/libnccl.so.2", "LD_LIBRARY_PATH"]);
    assert_names(&other, &["another rank cannot use NCCL"]);
}

#[test]
fn ranks_out_of_step_say_so() {
    const TEST: &str = "faults::ranks_out_of_step_say_so";
    if is_rank() {
        let comm = join(TIMEOUT).expect("ranks meet");
        let mut t = Tensor::ones([10], (Kind::Float, Device::Cpu));
        let failed = match comm.rank() {
            0 => comm.all_reduce(&mut t, ReduceOp::Sum, "gradients"),
            _ => comm.barrier("the end"),
        };
        return leave(comm.rank(), &failed.expect_err("it fails"));
    }
    let [zero, one] = errors(TEST, "mpi", &[]);
    assert_names(&zero, &["rank 0", "gradients", "rank 1 is in another collective: barrier #0"]);
    assert_names(&one, &["rank 1", "the end", "rank 0 is in another collective: all-reduce #0"]);
}
