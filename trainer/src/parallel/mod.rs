//! The parallel engine: how ranks agree, and how their gradients become one.
//!
//! [`Collective`] is the seam. [`SoloCollective`] is a world of one, [`MpiCollective`] carries CPU tensors,
//! [`NcclCollective`] tensors on GPUs.
//! [`DataParallel`] reduces gradients in buckets while backward goes on.
//!
//! All calls to a communicator are made by one thread (`comm_thread`), in the order in which they were handed over.
//! What hands them over (the training loop and autograd's hooks) runs in the same order on every rank.

mod buckets;
mod collective;
mod comm_thread;
mod data_parallel;
mod error;
mod exchange;
mod hooks;
mod mpi;
mod nccl;
mod record;
mod rendezvous;
mod solo;
mod sync;
mod transfer;
mod watchdog;

pub use buckets::{BucketSizes, Layout};
pub use collective::{Collective, Pending, ReduceOp, Timing};
pub use data_parallel::{DataParallel, Options, StepReport, Unused};
pub use error::ParallelError;
pub use mpi::MpiCollective;
pub use nccl::{NcclCollective, Platform};
pub use record::{Entry, FlightRecord};
pub use solo::SoloCollective;
pub use sync::{all_reduce_sum, batch_statistics};
