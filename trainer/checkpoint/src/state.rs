//! What a checkpoint holds, and how its tensors are dealt to ranks.

use std::collections::BTreeMap;

use bytes::Bytes;
use defusion_config::Stage;
use defusion_torch::host::byte_len;
use tch::Tensor;

use crate::CheckpointError;
use crate::manifest::GroupEntry;
use crate::names::{ShareName, is_group};
use crate::pool::Pool;
use crate::share::encode;

/// All that the next step depends on. Data parallel ranks hold equal snapshots.
#[derive(Debug)]
pub struct Snapshot {
    /// Stage it belongs to.
    pub stage: Stage,
    /// Steps of that stage that are complete.
    pub step: u64,
    /// Tensors by group (`model`, `ema`, `optim`, ...: `a-z`, `0-9`, `_`) and name. Any device and memory format; kinds
    /// f32, f64, f16, bf16, i64, i32, i16, i8, u8 and bool. They come back exactly, on the CPU, contiguous.
    pub groups: BTreeMap<String, BTreeMap<String, Tensor>>,
    /// Counters, best metrics, loss scale. Finite numbers come back exactly.
    pub scalars: serde_json::Map<String, serde_json::Value>,
}

impl Snapshot {
    /// An empty snapshot.
    pub fn new(stage: Stage, step: u64) -> Self {
        Self { stage, step, groups: BTreeMap::new(), scalars: serde_json::Map::new() }
    }

    /// Adds tensors under `group`, as handles of the same storage (no copy), for example a `VarStore`'s `variables()`.
    pub fn insert<N: Into<String>>(&mut self, group: &str, tensors: impl IntoIterator<Item = (N, Tensor)>) {
        let group = self.groups.entry(group.to_owned()).or_default();
        group.extend(tensors.into_iter().map(|(name, tensor)| (name.into(), tensor)));
    }

    /// Copies `group` into `targets`, in place, whatever their device and memory format.
    ///
    /// # Errors
    /// [`CheckpointError::State`] if the group is missing, or names, shapes or kinds differ. Nothing is copied then.
    pub fn copy_into(
        &self,
        group: &str,
        targets: impl IntoIterator<Item = (String, Tensor)>,
    ) -> Result<(), CheckpointError> {
        let error = |message| CheckpointError::State { group: group.to_owned(), message };
        let saved = self.groups.get(group).ok_or_else(|| {
            let have: Vec<&str> = self.groups.keys().map(String::as_str).collect();
            error(format!("the checkpoint has no such group; it has {}", have.join(", ")))
        })?;
        let mut pairs = Vec::with_capacity(saved.len());
        for (name, target) in targets {
            let Some(source) = saved.get(&name) else {
                return Err(error(format!("`{name}` is not in the checkpoint, which is of another model")));
            };
            if source.size() != target.size() || source.kind() != target.kind() {
                let show = |t: &Tensor| format!("{:?} {:?}", t.kind(), t.size());
                return Err(error(format!("`{name}` is {} here, {} in the checkpoint", show(&target), show(source))));
            }
            pairs.push((name, source, target));
        }
        if pairs.len() != saved.len() {
            let taken: std::collections::BTreeSet<&str> = pairs.iter().map(|(n, ..)| n.as_str()).collect();
            let first = saved.keys().find(|n| !taken.contains(n.as_str())).map_or("", String::as_str);
            let count = saved.len() - taken.len();
            return Err(error(format!("the checkpoint has {count} tensors more, the first `{first}`")));
        }
        tch::no_grad(|| {
            for (name, source, mut target) in pairs {
                target.f_copy_(source).map_err(|e| error(format!("`{name}`: {e}")))?;
            }
            Ok(())
        })
    }

    /// Tensors and bytes of every group, for the manifest.
    pub(crate) fn totals(&self) -> BTreeMap<String, GroupEntry> {
        let entry = |tensors: &BTreeMap<String, Tensor>| GroupEntry {
            tensors: tensors.len() as u64,
            bytes: tensors.values().map(|t| byte_len(t) as u64).sum(),
        };
        self.groups.iter().map(|(name, tensors)| (name.clone(), entry(tensors))).collect()
    }

    /// Copies the share of `rank` into host memory, one file a group; groups without a tensor for this rank have none.
    ///
    /// # Errors
    /// [`CheckpointError::State`] for a group's name or a tensor that cannot be stored.
    pub(crate) fn encode_share(
        &self,
        rank: usize,
        world: usize,
        pool: &Pool,
    ) -> Result<Vec<(ShareName, Bytes)>, CheckpointError> {
        let error = |group: &str, message| CheckpointError::State { group: group.to_owned(), message };
        if let Some(group) = self.groups.keys().find(|g| !is_group(g)) {
            return Err(error(group, "a group's name is 1 to 64 of a-z, 0-9 and _".into()));
        }
        let all: Vec<(&str, &str, &Tensor)> = self
            .groups
            .iter()
            .flat_map(|(group, tensors)| tensors.iter().map(move |(name, t)| (group.as_str(), name.as_str(), t)))
            .collect();
        if let Some((group, name, _)) = all.iter().find(|(.., t)| !t.defined()) {
            return Err(error(group, format!("`{name}` is undefined")));
        }
        let sizes: Vec<usize> = all.iter().map(|(.., t)| byte_len(t)).collect();
        let owners = deal(&sizes, world);
        let mut share: BTreeMap<&str, Vec<(&str, &Tensor)>> = BTreeMap::new();
        for (&(group, name, tensor), _) in all.iter().zip(&owners).filter(|(_, owner)| **owner == rank) {
            share.entry(group).or_default().push((name, tensor));
        }
        share
            .into_iter()
            .map(|(group, tensors)| {
                let file = encode(&tensors, pool).map_err(|e| error(group, e.to_string()))?;
                Ok((ShareName { group: group.to_owned(), rank, world }, file))
            })
            .collect()
    }
}

/// The rank that each of several tensors or files goes to: largest first, each to the rank with the fewest bytes so far. A pure
/// function of sizes and order, so that ranks agree without talking. An empty tensor counts as one byte, for spread.
pub(crate) fn deal(sizes: &[usize], world: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(sizes[i]));
    let mut loads = vec![0u64; world.max(1)];
    let mut owners = vec![0; sizes.len()];
    for i in order {
        let rank = (0..loads.len()).min_by_key(|&r| loads[r]).unwrap_or(0);
        loads[rank] += sizes[i].max(1) as u64;
        owners[i] = rank;
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn dealing_is_even(sizes in proptest::collection::vec(0usize..10_000, 0..200), world in 1usize..17) {
            let owners = deal(&sizes, world);
            let mut loads = vec![0; world];
            for (owner, size) in owners.iter().zip(&sizes) { loads[*owner] += (*size).max(1); }
            let largest = sizes.iter().copied().max().unwrap_or(0).max(1);
            // Greedy by size: no rank is ahead of another by more than one tensor.
            prop_assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= largest);
        }
    }

    #[test]
    fn what_does_not_fit_is_named_and_nothing_is_copied() {
        let mut snapshot = Snapshot::new(Stage::Diffusion, 1);
        snapshot.insert("model", [("a", Tensor::from_slice(&[1f32])), ("b", Tensor::from_slice(&[2f32, 3.]))]);
        let target = Tensor::from_slice(&[0f32]);
        let message = |targets: Vec<(String, Tensor)>, group: &str| {
            let error = snapshot.copy_into(group, targets).unwrap_err().to_string();
            assert_eq!(target.double_value(&[0]), 0.0, "{error}");
            error
        };
        let a = || ("a".to_owned(), target.shallow_clone());
        assert!(message(vec![a()], "optim").contains("it has model"));
        assert!(message(vec![a()], "model").contains("`b`"));
        assert!(message(vec![a(), ("c".into(), Tensor::from(1f32))], "model").contains("`c`"));
        assert!(message(vec![a(), ("b".into(), Tensor::from_slice(&[1f32]))], "model").contains("[2]"));
        assert!(message(vec![a(), ("b".into(), Tensor::from_slice(&[1f64, 1.]))], "model").contains("Double"));
        let b = Tensor::zeros([2], tch::kind::FLOAT_CPU);
        snapshot.copy_into("model", [a(), ("b".into(), b.shallow_clone())]).unwrap();
        assert_eq!((target.double_value(&[0]), b.double_value(&[1])), (1.0, 3.0));
    }
}
