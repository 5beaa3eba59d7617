//! The optimizer behind the parallel engine, between real processes under `mpirun`: the same weights on all ranks, and
//! the losses of PyTorch's own data parallelism.

mod gan;
// The parallel engine's own tests start ranks in the same way, with the same small network.
#[allow(dead_code)]
#[path = "../../../parallel/tests/parallel/harness.rs"]
mod harness;
mod load;
#[allow(dead_code)]
#[path = "../../../parallel/tests/parallel/networks.rs"]
mod networks;
mod optimizer;
mod peer;
mod statistics;

/// How the tests' networks are trained.
const ADAM: defusion_config::Adam = defusion_config::Adam { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.0 };
