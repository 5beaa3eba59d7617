//! A small network without BatchNorm, and what the tests do with one.

use std::sync::Arc;

use defusion_parallel::{BucketSizes, Collective, DataParallel, DataParallelOptions, Unused};
use tch::nn::Module;
use tch::{Device, Kind, Reduction, Tensor, nn};

/// So small that every parameter lies in a bucket of its own.
pub const TINY: BucketSizes = BucketSizes { full: 4, edge: 4 };

/// Two convolutions, a group norm and a linear layer: `[B, 3, 16, 16]` -> `[B, 4]`.
pub struct Net {
    pub vars: nn::VarStore,
    pub first: nn::Conv2D,
    pub second: nn::Conv2D,
    norm: nn::GroupNorm,
    head: nn::Linear,
}

impl Net {
    /// The same weights in every process.
    pub fn new(seed: i64) -> Self {
        tch::manual_seed(seed);
        let vars = nn::VarStore::new(Device::Cpu);
        let root = vars.root();
        let pad = nn::ConvConfig { padding: 1, ..Default::default() };
        Self {
            first: nn::conv2d(&root / "first", 3, 8, 3, pad),
            second: nn::conv2d(&root / "second", 8, 8, 3, pad),
            norm: nn::group_norm(&root / "norm", 2, 8, Default::default()),
            head: nn::linear(&root / "head", 8, 4, Default::default()),
            vars,
        }
    }

    pub fn forward(&self, x: &Tensor) -> Tensor {
        let h = self.second.forward(&self.first.forward(x).silu()).silu();
        self.head.forward(&self.norm.forward(&h).mean_dim(&[2_i64, 3][..], false, Kind::Float))
    }

    pub fn loss(&self, (x, y): &(Tensor, Tensor)) -> Tensor {
        self.forward(x).mse_loss(y, Reduction::Mean)
    }

    /// Parameters by name, in one order everywhere.
    pub fn parameters(&self) -> Vec<(String, Tensor)> {
        let mut named: Vec<_> = self.vars.variables().into_iter().collect();
        named.sort_by(|a, b| a.0.cmp(&b.0));
        named
    }

    pub fn parallel(&self, name: &str, comm: &Arc<dyn Collective>, sizes: BucketSizes) -> DataParallel {
        let options = DataParallelOptions { sizes, unused: Unused::Zero };
        DataParallel::new(name, self.parameters(), &[], Arc::clone(comm), options).expect("same networks")
    }

    /// The gradients that a single process has.
    pub fn gradients(&self) -> Vec<(String, Tensor)> {
        self.parameters().into_iter().map(|(name, p)| (name, p.grad())).collect()
    }
}

/// Batch number `k` of `rows` images and targets, the same in every process.
pub fn batch(k: i64, rows: i64) -> (Tensor, Tensor) {
    tch::manual_seed(1000 + k);
    let x = Tensor::randn([rows, 3, 16, 16], (Kind::Float, Device::Cpu));
    (x, Tensor::randn([rows, 4], (Kind::Float, Device::Cpu)))
}

/// Part `part` of `parts` of a batch.
pub fn part((x, y): &(Tensor, Tensor), part: usize, parts: usize) -> (Tensor, Tensor) {
    let rows = x.size()[0] / parts as i64;
    let cut = |t: &Tensor| t.narrow(0, part as i64 * rows, rows);
    (cut(x), cut(y))
}

/// One whole step on this rank's part of a batch.
pub fn step(dp: &mut DataParallel, net: &Net, comm: &Arc<dyn Collective>, whole: &(Tensor, Tensor)) {
    dp.begin_step(1).expect("step begins");
    dp.backward(&net.loss(&part(whole, comm.rank(), comm.size())), true).expect("backward");
    dp.finish().expect("gradients are reduced");
}

/// Fails where a gradient differs by more than 1e-5 of its norm.
pub fn assert_close(reduced: &[Tensor], expected: &[(String, Tensor)]) {
    assert_eq!(reduced.len(), expected.len());
    for (ours, (name, theirs)) in reduced.iter().zip(expected) {
        let norm = |t: &Tensor| t.to_kind(Kind::Double).norm().double_value(&[]);
        let (difference, size) = (norm(&(ours - theirs)), norm(theirs));
        assert!(size > 0.0, "{name}: no gradient to compare with");
        assert!(difference <= 1e-5 * size, "{name}: off by {:e} of its norm", difference / size);
    }
}

/// The bytes of float32 tensors, one after the other.
pub fn bytes(tensors: &[Tensor]) -> Vec<u8> {
    let values = tensors.iter().flat_map(|t| Vec::<f32>::try_from(t.flatten(0, -1)).expect("float32"));
    values.flat_map(f32::to_le_bytes).collect()
}

/// Fails where a rank has other bits than rank 0.
pub fn assert_same_on_all_ranks(tensors: &[Tensor], comm: &Arc<dyn Collective>) {
    let mine = bytes(tensors);
    let mut theirs = mine.clone();
    comm.broadcast_bytes(&mut theirs, 0, "rank 0's bits").expect("broadcast");
    assert!(mine == theirs, "rank {} has other bits than rank 0", comm.rank());
}
