//! Collectives by a thread of their own.

use std::fmt;
use std::time::Duration;

use tch::Tensor;

use crate::collective::{Collective, Pending, ReduceOp};
use crate::comm_thread::CommThread;
use crate::cuda::Platform;
use crate::error::ParallelError;
use crate::job::Work;
use crate::record::FlightRecord;
use crate::timeout::Timeout;
use crate::transport::interface::Transport;
use crate::transport::mpi::MpiTransport;
use crate::transport::nccl::NcclTransport;

/// The worker ranks of an MPI job, one process per rank: every call is handed to the thread that owns the transport.
///
/// Tensors on the transport's device, if it has one, go through NCCL, on a stream of their own: an event on libtorch's
/// current stream holds a collective back until its tensor is computed, and an event behind it holds back what uses the
/// result. Everything else (barriers, agreement, bytes, host tensors) goes through MPI.
///
/// NCCL's errors are asked for several times a second. After one, or if a collective takes longer than the timeout, the
/// communicator is aborted, so that no kernel waits any more, and every further call fails with that error.
pub struct ThreadedCollective {
    thread: CommThread,
    timeout: Timeout,
}

impl fmt::Debug for ThreadedCollective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = if self.thread.context.is_some() { "nccl" } else { "mpi" };
        write!(f, "ThreadedCollective {{ {transport}, rank: {}, size: {} }}", self.thread.rank, self.thread.size)
    }
}

impl ThreadedCollective {
    /// Starts MPI and joins the other workers: the ranks of the world that split off with
    /// [`COLOR_WORKER`](defusion_config::protocol::COLOR_WORKER). Takes CPU tensors.
    ///
    /// Once in a process. All ranks of the world must call it, or split with another colour. For `timeout` see
    /// [`Collective::set_timeout`]; [`Collective::finish`] waits for surplus ranks too, and finalizes MPI.
    ///
    /// # Errors
    /// [`ParallelError::Mpi`]: MPI was started before, or does not support threads. [`ParallelError::Thread`]: a thread
    /// cannot be started.
    pub fn mpi(timeout: Option<Duration>) -> Result<Self, ParallelError> {
        Self::start(timeout, MpiTransport::start)
    }

    /// Starts MPI as [`ThreadedCollective::mpi`] does, and NCCL between the workers, one GPU per rank. `timeout` limits
    /// the start too.
    ///
    /// # Errors
    /// MPI's; [`ParallelError::Library`], a library that is missing or too old on this rank; [`ParallelError::Nccl`]
    /// and [`ParallelError::Cuda`], the libraries' own, and those of another rank.
    pub fn nccl(platform: Platform, timeout: Option<Duration>) -> Result<Self, ParallelError> {
        Self::start(timeout, |timeout| NcclTransport::start(platform, timeout))
    }

    fn start<T: Transport + 'static>(
        timeout: Option<Duration>,
        make: impl FnOnce(Timeout) -> Result<T, ParallelError> + Send + 'static,
    ) -> Result<Self, ParallelError> {
        let timeout = Timeout::new(timeout);
        let thread = CommThread::start(&timeout, make)?;
        Ok(Self { thread, timeout })
    }

    /// Hands a tensor over; a copy of one on the device that is not contiguous, which then comes back.
    fn submit(&self, tensor: &Tensor, name: &str, work: impl FnOnce(Tensor) -> Work) -> Result<Pending, ParallelError> {
        let Some(context) = self.thread.context.as_ref().filter(|context| context.device() == tensor.device()) else {
            return Ok(self.thread.submit_tensor(tensor, name, None, work));
        };
        if tensor.is_contiguous() {
            return Ok(self.thread.submit_tensor(tensor, name, Some(context.record()?), work));
        }
        let copy = tch::no_grad(|| tensor.f_contiguous())?;
        let pending = self.thread.submit_tensor(&copy, name, Some(context.record()?), work);
        Ok(pending.then_copy(copy, tensor.shallow_clone()))
    }
}

impl Collective for ThreadedCollective {
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

    fn set_timeout(&self, limit: Option<Duration>) {
        self.timeout.set(limit);
    }

    fn finish(&self) -> Result<(), ParallelError> {
        self.thread.finish()
    }
}
