//! What the tests share.

use std::time::Duration;

use defusion_checkpoint::{Attempt, CheckpointId, CheckpointOptions, Checkpointer, RunFolder, Snapshot};
use defusion_config::Stage;
use defusion_storage::Retry;
use tch::{Device, Kind, Tensor};

/// Options with pauses of milliseconds.
pub fn options() -> CheckpointOptions {
    CheckpointOptions {
        keep: 3,
        keep_every: 0,
        retry: Retry {
            tries: 3,
            first: Duration::from_millis(1),
            longest: Duration::from_millis(2),
            within: Duration::from_secs(60),
        },
        part_timeout: Duration::from_secs(60),
        part_poll: Duration::from_millis(5),
    }
}

pub fn checkpointer(
    folder: &RunFolder,
    attempt: &Attempt,
    rank: usize,
    world: usize,
    options: CheckpointOptions,
) -> Checkpointer {
    Checkpointer::new(folder.clone(), attempt.clone(), rank, world, options)
}

/// Tensors of several kinds and sizes, a function of `salt`.
pub fn snapshot(stage: Stage, step: u64, salt: u64) -> Snapshot {
    let values = |n: i64, kind: Kind| {
        let ramp = Tensor::arange(n, (Kind::Double, Device::Cpu)) * 0.37 + salt as f64;
        ramp.sin().g_mul_scalar(50.0).to_kind(kind)
    };
    let mut snapshot = Snapshot::new(stage, step);
    for group in ["model", "ema"] {
        let names = ["conv.weight", "conv.bias", "norm.weight", "out.weight"];
        snapshot.insert(group, names.iter().zip([3000, 7, 90, 500]).map(|(n, len)| (*n, values(len, Kind::Float))));
    }
    snapshot.insert("optim", [("m", values(4000, Kind::Double)), ("half", values(33, Kind::BFloat16))]);
    snapshot.insert("optim", [("step", Tensor::from(step as i64)), ("seen", values(9, Kind::Uint8))]);
    snapshot.scalars.insert("best_psnr".into(), (0.1 + 0.2 + salt as f64).into());
    snapshot.scalars.insert("tag".into(), "x".into());
    snapshot
}

/// Saves `snapshot` as `world` ranks would.
pub fn save_all(folder: &RunFolder, attempt: &Attempt, world: usize, snapshot: &Snapshot) -> CheckpointId {
    let mut ranks: Vec<Checkpointer> =
        (0..world).map(|rank| checkpointer(folder, attempt, rank, world, options())).collect();
    for rank in &mut ranks {
        rank.save(snapshot).unwrap();
    }
    let ids: Vec<_> = ranks.iter_mut().map(|rank| rank.wait().unwrap().unwrap()).collect();
    ids[0]
}

pub fn bytes_of(tensor: &Tensor) -> Vec<u8> {
    let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.copy_data_u8(&mut bytes, tensor.numel());
    bytes
}

pub fn assert_same(a: &Snapshot, b: &Snapshot) {
    assert_eq!((a.stage, a.step, &a.scalars), (b.stage, b.step, &b.scalars));
    assert_eq!(a.groups.keys().collect::<Vec<_>>(), b.groups.keys().collect::<Vec<_>>());
    for (group, tensors) in &a.groups {
        assert_eq!(tensors.keys().collect::<Vec<_>>(), b.groups[group].keys().collect::<Vec<_>>());
        for (name, tensor) in tensors {
            let other = &b.groups[group][name];
            assert_eq!((tensor.size(), tensor.kind()), (other.size(), other.kind()), "{group}.{name}");
            assert_eq!(bytes_of(tensor), bytes_of(other), "{group}.{name}");
        }
    }
}
