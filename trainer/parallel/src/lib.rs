//! The parallel engine: how the ranks of a job agree, and how their gradients become one.
//!
//! A training process joins its job once ([`ProcessGroup::join`]) and wraps each network in a [`DataParallel`], which
//! reduces gradients in buckets while backward goes on. [`Collective`] is the seam below: [`ThreadedCollective`]
//! carries CPU tensors over MPI and tensors on GPUs over NCCL; [`SoloCollective`] is a world of one.
//!
//! All calls to a communicator are made by one thread, in the order in which they were handed over. What hands them
//! over (the training loop and autograd's hooks) runs in the same order on every rank. A rank that waits too long fails
//! with the names of those that did not come, and writes its [`FlightRecord`].
//!
//! The crate stands on `defusion-torch` alone, and knows no network and no stage; `defusion-trainer` stands on it. It
//! is one of the two that may hold `unsafe` code: in `cuda` and `transport`.
//!
//! # Example
//! ```no_run
//! use defusion_config::Cluster;
//! use defusion_parallel::{BucketSizes, DataParallel, DataParallelOptions, ParallelError, ProcessGroup, Unused};
//! use tch::{Device, Kind, nn, nn::Module};
//!
//! fn main() -> Result<(), ParallelError> {
//!     let group = ProcessGroup::join(Device::Cpu, &Cluster::default())?;
//!     let vars = nn::VarStore::new(group.device());
//!     let layer = nn::linear(vars.root(), 8, 1, Default::default());
//!     let mut named: Vec<_> = vars.variables().into_iter().collect();
//!     named.sort_by(|a, b| a.0.cmp(&b.0));
//!     let options = DataParallelOptions { sizes: BucketSizes::mib(25.0), unused: Unused::Zero };
//!     let mut parallel = DataParallel::new("layer", named, &[], group.collective().clone(), options)?;
//!
//!     let x = tch::Tensor::randn([4, 8], (Kind::Float, group.device()));
//!     parallel.begin_step(1)?;
//!     parallel.backward(&layer.forward(&x).square().mean(Kind::Float), true)?;
//!     let report = parallel.finish()?;
//!     println!("mean loss {}", report.mean_loss.double_value(&[]));
//!     drop(parallel);
//!     group.leave()
//! }
//! ```
#![deny(unsafe_code)]

mod buckets;
mod call;
mod collective;
mod comm_thread;
mod cuda;
mod data_parallel;
mod error;
mod flat_gradients;
mod hooks;
mod job;
mod process_group;
mod record;
mod replicate;
mod solo;
mod step;
mod sync;
mod threaded;
mod timeout;
mod transport;
mod watchdog;

pub use buckets::BucketSizes;
pub use call::Operation;
pub use collective::{Collective, Pending, ReduceOp, Timing};
pub use cuda::Platform;
pub use data_parallel::DataParallel;
pub use error::ParallelError;
pub use process_group::ProcessGroup;
pub use record::{Entry, FlightRecord};
pub use solo::SoloCollective;
pub use step::{DataParallelOptions, ReductionReport, Unused};
pub use sync::{BatchShare, all_reduce_sum, batch_statistics};
pub use threaded::ThreadedCollective;
pub use transport::nccl::nccl_identity;
