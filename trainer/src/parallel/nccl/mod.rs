//! Collectives over NCCL for tensors on GPUs; MPI stays the control plane.
//!
//! [`shared_object`] loads the libraries, [`library`] and [`driver`] are their C interfaces, [`communicator`] is one
//! NCCL communicator, [`transport`] is what the communication thread runs. This module and `crate::torch` hold all
//! `unsafe` of the crate.
#![allow(unsafe_code)]

mod communicator;
mod driver;
mod ground;
mod library;
mod shared_object;
mod transport;

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tch::Tensor;

pub use ground::Platform;

pub(super) use driver::Event;
pub(super) use ground::Mark;

use self::ground::Ground;
use self::library::Library;
use self::transport::NcclTransport;
use super::comm_thread::{CommThread, Work};
use super::mpi::Control;
use super::{Collective, FlightRecord, ParallelError, Pending, ReduceOp};

/// The worker ranks of an MPI job, one process and one GPU a rank.
///
/// Tensors on the device go through NCCL, on a stream of its own: an event on libtorch's current stream holds a
/// collective back until its tensor is computed, and an event behind it holds back what uses the result. Everything else
/// (barriers, agreement, bytes, host tensors) goes through MPI. All of it is called by one thread.
///
/// NCCL's errors are asked for several times a second. After one, or when a collective takes longer than the patience,
/// the communicator is aborted, so that no kernel waits any more, and every further call fails with that error.
pub struct NcclCollective {
    thread: CommThread,
    ground: Ground,
    control: Control,
}

impl std::fmt::Debug for NcclCollective {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NcclCollective {{ rank: {}, size: {} }}", self.thread.rank, self.thread.size)
    }
}

impl NcclCollective {
    /// Starts MPI as [`super::MpiCollective::start`] does, and NCCL between the workers. `patience` limits the start
    /// too; see [`Collective::set_patience`].
    ///
    /// # Errors
    /// MPI's; a library that is missing or too old, on this rank or another; NCCL's own.
    pub fn start(platform: Platform, patience: Option<Duration>) -> Result<Self, ParallelError> {
        let (control, opened) = (Control::new(patience), Arc::new(OnceLock::new()));
        let (shared, open) = (control.clone(), Arc::clone(&opened));
        let thread = CommThread::start(control.clone(), move || NcclTransport::start(platform, shared, &open))?;
        let ground = opened.get().cloned();
        let ground = ground.ok_or_else(|| ParallelError::Nccl("the transport did not start".into()))?;
        Ok(Self { thread, ground, control })
    }

    /// Version and a new identity of the NCCL in `path`, or else of the installed one, as the ranks exchange it: the
    /// version as NCCL counts (22907 is 2.29.7), and 128 bytes. Needs no GPU.
    ///
    /// # Errors
    /// It cannot be loaded, is too old, or finds no network interface.
    pub fn identity(path: Option<&Path>) -> Result<(i32, Vec<u8>), ParallelError> {
        let library = Library::open(path)?;
        Ok((library.version()?, library.unique_id()?))
    }

    /// Hands a tensor over; a copy of one that is not contiguous, which then comes back.
    fn submit(&self, tensor: &Tensor, name: &str, work: impl FnOnce(Tensor) -> Work) -> Result<Pending, ParallelError> {
        if tensor.device() != self.ground.platform.device {
            return Ok(self.thread.submit_tensor(tensor, name, None, work));
        }
        if tensor.is_contiguous() {
            return Ok(self.thread.submit_tensor(tensor, name, Some(self.ground.mark()?), work));
        }
        let copy = tch::no_grad(|| tensor.f_contiguous())?;
        let pending = self.thread.submit_tensor(&copy, name, Some(self.ground.mark()?), work);
        Ok(pending.then_copy(copy, tensor.shallow_clone()))
    }
}

impl Collective for NcclCollective {
    fn rank(&self) -> usize {
        self.thread.rank
    }

    fn size(&self) -> usize {
        self.thread.size
    }

    fn start_all_reduce(&self, tensor: &Tensor, op: ReduceOp, name: &str) -> Pending {
        self.submit(tensor, name, |t| Work::AllReduce(t, op)).unwrap_or_else(|e| Pending::done(Err(e)))
    }

    fn broadcast(&self, tensor: &mut Tensor, root: usize, name: &str) -> Result<(), ParallelError> {
        self.submit(tensor, name, |t| Work::Broadcast(t, root))?.wait().map(|_| ())
    }

    fn broadcast_bytes(&self, bytes: &mut Vec<u8>, root: usize, name: &str) -> Result<(), ParallelError> {
        self.thread.broadcast_bytes(bytes, root, name)
    }

    fn barrier(&self, name: &str) -> Result<(), ParallelError> {
        self.thread.barrier(name)
    }

    fn any(&self, flag: bool, name: &str) -> Result<bool, ParallelError> {
        self.thread.any(flag, name)
    }

    fn flight_record(&self) -> FlightRecord {
        self.thread.record.clone()
    }

    fn set_patience(&self, limit: Option<Duration>) {
        self.control.set_patience(limit);
    }

    fn finish(&self) -> Result<(), ParallelError> {
        self.thread.finish()
    }
}
