//! A checkpoint is read once among all ranks, and fallen back from together.

use std::path::{Path, PathBuf};
use std::time::Duration;

use defusion_checkpoint::{CheckpointId, CheckpointOptions, Checkpointer, RunFolder, Snapshot};
use defusion_config::{Checkpoints, Stage};
use defusion_trainer::run::{DealtCheckpoint, TrainError};
use tch::{Device, Kind, Tensor};

use crate::harness::{assert_success, is_rank, join, start, transcript};

/// In the environment of a rank: the folder with the run.
const FOLDER: &str = "DEFUSION_TEST_FOLDER";
/// Elements of each large tensor; a checkpoint has eight.
const ELEMENTS: i64 = 500_000;

/// A state that is a function of `salt`: two groups, a scalar and a weight in NHWC among them.
fn state(salt: i64) -> Snapshot {
    let options = (Kind::Float, Device::Cpu);
    let mut state = Snapshot::new(Stage::Diffusion, 10);
    for group in ["model", "optim"] {
        for k in 0..4 {
            state.insert(group, [(format!("w{k}"), Tensor::arange(ELEMENTS, options) * (k + salt) as f64)]);
        }
        let weight = Tensor::arange(2 * 3 * 4 * 5, options).view([2, 4, 5, 3]).permute([0, 3, 1, 2]) + salt as f64;
        state.insert(group, [("conv", weight), ("step", Tensor::from(salt as f32))]);
    }
    state
}

fn run(folder: &Path) -> RunFolder {
    RunFolder::open(&folder.display().to_string()).expect("a run folder")
}

/// Saves checkpoints as two ranks would, of steps 10, 20, ... with the salts given.
fn save(folder: &Path, salts: &[i64]) -> Vec<CheckpointId> {
    let folder = run(folder);
    let attempt = folder.claim("digest").expect("an attempt");
    let options = CheckpointOptions::from(&Checkpoints::default());
    let mut ranks: Vec<Checkpointer> =
        (0..2).map(|rank| Checkpointer::new(folder.clone(), attempt.clone(), rank, 2, options)).collect();
    let save = |(k, salt): (usize, &i64)| {
        let snapshot = Snapshot { step: 10 * (k as u64 + 1), ..state(*salt) };
        for rank in &mut ranks {
            rank.save(&snapshot).expect("saved");
        }
        let ids: Vec<_> = ranks.iter_mut().map(|rank| rank.wait().expect("safe").expect("a name")).collect();
        ids[0]
    };
    salts.iter().enumerate().map(save).collect()
}

/// Bytes that this process has read so far, from files and whatever else has a number.
fn bytes_read() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").expect("/proc/self/io");
    let rchar = io.lines().find_map(|line| line.strip_prefix("rchar: ")).expect("rchar");
    rchar.parse().expect("a number")
}

fn folder() -> PathBuf {
    PathBuf::from(std::env::var_os(FOLDER).expect("a folder"))
}

/// What a rank does: loads, compares with `salt` at step `step`.
fn load_as_rank(step: u64, salt: i64) {
    let comm = join(Duration::from_secs(60)).expect("ranks meet");
    let folder = run(&folder());
    let before = bytes_read();
    let found = DealtCheckpoint::newest(&folder, &*comm).expect("read").expect("a checkpoint");
    let read = bytes_read() - before;
    assert_eq!(found.id().step, step);
    let bytes = 8 * 4 * ELEMENTS as u64;
    // Rank 1 finds the damage of the second test late; the checkpoint before is then read too.
    let whole = if step == 10 { 2 * bytes } else { bytes };
    assert!(read < whole * 6 / 10, "{read} bytes read of {whole}");
    let into = state(1000);
    found.copy_into(&into, &*comm).expect("copied");
    for (group, tensors) in &state(salt).groups {
        for (name, want) in tensors {
            assert_eq!(&into.groups[group][name], want, "{group} {name}");
        }
    }
    // What does not fit is refused by all, and nothing is copied.
    let found = DealtCheckpoint::newest(&folder, &*comm).expect("read").expect("a checkpoint");
    let mut other = state(1000);
    other.insert("model", [("extra", Tensor::from(1f32))]);
    let error = found.copy_into(&other, &*comm).expect_err("does not fit").to_string();
    assert!(error.contains("`extra` is not in checkpoint"), "{error}");
    assert_eq!(other.groups["model"]["w1"], state(1000).groups["model"]["w1"]);
    comm.finish().expect("ranks part in order");
}

#[test]
fn each_rank_reads_its_part_and_has_the_whole() {
    if is_rank() {
        return load_as_rank(20, 7);
    }
    let dir = tempfile::tempdir().expect("a folder");
    save(dir.path(), &[3, 7]);
    let env = [(FOLDER, dir.path().to_str().expect("a plain path"))];
    assert_success(&start(2, "load::each_rank_reads_its_part_and_has_the_whole", "mpi", &env));
}

#[test]
fn damage_that_one_rank_finds_sends_all_to_the_checkpoint_before() {
    if is_rank() {
        return load_as_rank(10, 3);
    }
    for file in ["model-1of2", "model-2of2", "optim-1of2", "optim-2of2"] {
        let dir = tempfile::tempdir().expect("a folder");
        let newest = save(dir.path(), &[3, 7])[1];
        flip(&dir.path().join(newest.folder()).join(format!("{file}.safetensors")));
        let env = [(FOLDER, dir.path().to_str().expect("a plain path"))];
        let test = "load::damage_that_one_rank_finds_sends_all_to_the_checkpoint_before";
        let output = start(2, test, "mpi", &env);
        assert_success(&output);
        let said = transcript(&output);
        assert!(said.contains("passed over: ") && said.contains(file), "{said}");
    }
}

#[test]
fn if_all_are_damaged_all_ranks_end() {
    if is_rank() {
        let comm = join(Duration::from_secs(60)).expect("ranks meet");
        let error = DealtCheckpoint::newest(&run(&folder()), &*comm).expect_err("nothing to load");
        match (&error, comm.rank()) {
            (TrainError::Checkpoint(_), 0) | (TrainError::RankZero { .. }, 1) => {}
            _ => panic!("rank {}: {error}", comm.rank()),
        }
        assert!(error.to_string().contains("none of the 1 checkpoints") && !error.is_transient(), "{error}");
        return comm.finish().expect("ranks part in order");
    }
    let dir = tempfile::tempdir().expect("a folder");
    let only = save(dir.path(), &[3])[0];
    flip(&dir.path().join(only.folder()).join("optim-2of2.safetensors"));
    let env = [(FOLDER, dir.path().to_str().expect("a plain path"))];
    assert_success(&start(2, "load::if_all_are_damaged_all_ranks_end", "mpi", &env));
}

/// Changes a bit of a file's last byte.
fn flip(file: &Path) {
    let mut bytes = std::fs::read(file).expect("a file");
    *bytes.last_mut().expect("bytes") ^= 1;
    std::fs::write(file, bytes).expect("written");
}
