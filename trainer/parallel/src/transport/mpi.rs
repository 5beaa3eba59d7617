//! Collectives over MPI: the control plane everywhere, and the gradients on CPU.

use std::rc::Rc;
use std::time::{Duration, Instant};

use defusion_config::protocol::COLOR_WORKER;
use defusion_torch::TorchError;
use mpi::environment::Universe;
use mpi::topology::{Color, SimpleCommunicator};
use mpi::traits::*;
use tch::Tensor;

use super::exchange;
use super::host::{self, Elements};
use super::interface::Transport;
use super::rendezvous::{Rendezvous, Watch};
use super::transfer::Transfer;
use crate::call::Call;
use crate::collective::ReduceOp;
use crate::cuda::{Event, Mark};
use crate::error::ParallelError;
use crate::record::FlightRecord;
use crate::timeout::Timeout;

/// Host memory over MPI.
///
/// MPI is started, used and finalized on the communication thread alone (`MPI_THREAD_FUNNELED`, where that thread is
/// MPI's main one). MPI's own errors end the job with its message (`MPI_ERRORS_ARE_FATAL`).
pub(crate) struct MpiTransport {
    // Both are taken when the run has ended well. Otherwise they are forgotten: freeing a communicator and finalizing
    // wait for the other ranks.
    universe: Option<Universe>,
    comms: Option<Comms>,
    staging: Staging,
    record: FlightRecord,
}

struct Comms {
    workers: SimpleCommunicator,
    rendezvous: Rendezvous,
}

/// Receive buffers, kept between calls.
#[derive(Default)]
struct Staging {
    f32: Vec<f32>,
    f64: Vec<f64>,
    i64: Vec<i64>,
    bits: Vec<u16>,
}

impl MpiTransport {
    /// Starts MPI and joins the ranks that split off from the world with [`COLOR_WORKER`]. Once in a process.
    pub fn start(timeout: Timeout) -> Result<Self, ParallelError> {
        let (universe, level) = mpi::initialize_with_threading(mpi::Threading::Funneled)
            .ok_or_else(|| ParallelError::Mpi("it was started before in this process".into()))?;
        if level < mpi::Threading::Funneled {
            return Err(ParallelError::Mpi("this library does not support programs with threads".into()));
        }
        let workers = universe
            .world()
            .split_by_color(Color::with_value(COLOR_WORKER))
            .ok_or_else(|| ParallelError::Mpi("the world could not be split".into()))?;
        let record = FlightRecord::new(workers.rank() as usize);
        let rendezvous = Rendezvous::new(workers.duplicate(), timeout);
        let comms = Some(Comms { workers, rendezvous });
        Ok(Self { universe: Some(universe), comms, staging: Staging::default(), record })
    }

    /// Lets `watch` look after other work of this thread while it waits here.
    pub(super) fn watch(&mut self, watch: Rc<dyn Watch>) {
        if let Some(comms) = &mut self.comms {
            comms.rendezvous.watch = Some(watch);
        }
    }

    /// Notes that this rank has come to a collective that meets elsewhere.
    pub(super) fn arrive(&mut self, call: &Call) -> Result<&Rendezvous, ParallelError> {
        let comms = self.comms.as_mut().ok_or_else(ended)?;
        comms.rendezvous.arrive(call);
        Ok(&comms.rendezvous)
    }

    fn meet<'a>(&'a mut self, call: &'a Call) -> Result<Transfer<'a>, ParallelError> {
        let Comms { workers, rendezvous } = self.comms.as_mut().ok_or_else(ended)?;
        let since = Instant::now();
        rendezvous.meet(call, since)?;
        Ok(Transfer { comm: workers, rendezvous, record: &self.record, call, since })
    }
}

fn ended() -> ParallelError {
    ParallelError::Mpi("it is finalized already".into())
}

impl Transport for MpiTransport {
    fn rank(&self) -> usize {
        self.comms.as_ref().map_or(0, |c| c.workers.rank() as usize)
    }

    fn size(&self) -> usize {
        self.comms.as_ref().map_or(0, |c| c.workers.size() as usize)
    }

    fn record(&self) -> FlightRecord {
        self.record.clone()
    }

    fn all_reduce(
        &mut self,
        tensor: &mut Tensor,
        op: ReduceOp,
        _after: Option<Event>,
        call: &Call,
    ) -> Result<Option<Mark>, ParallelError> {
        let rank = self.rank();
        let mut staging = std::mem::take(&mut self.staging);
        let ranks = self.meet(call)?;
        in_contiguous(tensor, |t| {
            // SAFETY: whoever hands a tensor over leaves its elements alone until the wait for it has returned.
            match unsafe { host::elements(t)? } {
                Elements::F32(data) => exchange::reduce(&ranks, data, &mut staging.f32, op),
                Elements::F64(data) => exchange::reduce(&ranks, data, &mut staging.f64, op),
                Elements::I64(data) => exchange::reduce(&ranks, data, &mut staging.i64, op),
                Elements::Bf16(data) => exchange::reduce_bf16(&ranks, data, &mut staging.bits, op),
            }
            Ok(())
        })
        .map_err(|e| call.failed(rank, e))?;
        self.staging = staging;
        Ok(None)
    }

    fn broadcast(
        &mut self,
        tensor: &mut Tensor,
        root: usize,
        _after: Option<Event>,
        call: &Call,
    ) -> Result<Option<Mark>, ParallelError> {
        let rank = self.rank();
        let ranks = self.meet(call)?;
        in_contiguous(tensor, |t| {
            // SAFETY: as in a reduction; what is written are the bytes of the root's tensor, which is of the same kind.
            ranks.broadcast(unsafe { host::bytes(t)? }, root);
            Ok(())
        })
        .map_err(|e| call.failed(rank, e))?;
        Ok(None)
    }

    fn broadcast_bytes(&mut self, bytes: &mut Vec<u8>, root: usize, call: &Call) -> Result<(), ParallelError> {
        let ranks = self.meet(call)?;
        let mut length = [bytes.len() as u64];
        ranks.broadcast(&mut length, root);
        bytes.resize(length[0] as usize, 0);
        ranks.broadcast(bytes, root);
        Ok(())
    }

    fn any(&mut self, flag: bool, call: &Call) -> Result<bool, ParallelError> {
        let mut staging = std::mem::take(&mut self.staging.i64);
        let mut flag = [i64::from(flag)];
        exchange::reduce(&self.meet(call)?, &mut flag, &mut staging, ReduceOp::Max);
        self.staging.i64 = staging;
        Ok(flag != [0])
    }

    fn barrier(&mut self, call: &Call) -> Result<(), ParallelError> {
        // Having met is all that a barrier is.
        self.meet(call).map(|_| ())
    }

    fn poll(&mut self) -> Result<(), ParallelError> {
        self.comms.as_ref().map_or(Ok(()), |comms| comms.rendezvous.poll())
    }

    fn finish(&mut self, _call: &Call) -> Result<(), ParallelError> {
        let Some(universe) = self.universe.take() else { return Ok(()) };
        let mut pending = universe.world().immediate_barrier();
        while let Err(request) = pending.test() {
            pending = request;
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(self.comms.take());
        drop(universe);
        Ok(())
    }
}

impl Drop for MpiTransport {
    fn drop(&mut self) {
        std::mem::forget(self.comms.take());
        std::mem::forget(self.universe.take());
    }
}

/// Runs `f` on the tensor itself, or on a contiguous copy that is then copied back.
fn in_contiguous(t: &mut Tensor, f: impl FnOnce(&mut Tensor) -> Result<(), TorchError>) -> Result<(), TorchError> {
    if t.is_contiguous() {
        return f(t);
    }
    tch::no_grad(|| {
        let mut copy = t.f_contiguous()?;
        f(&mut copy)?;
        Ok(t.f_copy_(&copy)?)
    })
}
