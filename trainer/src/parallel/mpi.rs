//! Collectives over MPI: the control plane everywhere, and the gradients on CPU.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use defusion_config::protocol::COLOR_WORKER;
use half::bf16;
use mpi::environment::Universe;
use mpi::topology::{Color, SimpleCommunicator};
use mpi::traits::*;
use tch::{Kind, Tensor};

use super::comm_thread::{Call, CommThread, Transport, Work, failure};
use super::nccl::{Event, Mark};
use super::rendezvous::{Rendezvous, Watch};
use super::transfer::Transfer;
use super::{Collective, FlightRecord, ParallelError, Pending, ReduceOp, exchange};
use crate::torch::{TorchError, cpu_bits_mut, cpu_bytes_mut, cpu_slice_mut};

/// The worker ranks of an MPI job, one process a rank, on CPU tensors.
///
/// MPI is started, used and finalized on the communication thread alone (`MPI_THREAD_FUNNELED`, where that thread is
/// MPI's main one). MPI's own errors end the job with its message (`MPI_ERRORS_ARE_FATAL`).
pub struct MpiCollective {
    thread: CommThread,
    control: Control,
}

/// What can be changed about a transport while it works: how long it waits for other ranks.
#[derive(Clone)]
pub(super) struct Control {
    // Milliseconds; 0: for ever.
    patience: Arc<AtomicU64>,
}

impl Control {
    pub fn new(patience: Option<Duration>) -> Self {
        let control = Self { patience: Arc::default() };
        control.set_patience(patience);
        control
    }

    pub fn set_patience(&self, limit: Option<Duration>) {
        self.patience.store(limit.map_or(0, |d| (d.as_millis() as u64).max(1)), Ordering::Relaxed);
    }

    pub fn patience(&self) -> Option<Duration> {
        match self.patience.load(Ordering::Relaxed) {
            0 => None,
            limit => Some(Duration::from_millis(limit)),
        }
    }
}

impl std::fmt::Debug for MpiCollective {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MpiCollective {{ rank: {}, size: {} }}", self.thread.rank, self.thread.size)
    }
}

impl MpiCollective {
    /// Starts MPI and joins the other workers: the ranks of the world that split off with [`COLOR_WORKER`].
    ///
    /// Once in a process. All ranks of the world must call it, or split with another colour. For `patience` see
    /// [`Collective::set_patience`]; [`Collective::finish`] waits for surplus ranks too, and finalizes MPI.
    ///
    /// # Errors
    /// MPI was started before, or does not support threads.
    pub fn start(patience: Option<Duration>) -> Result<Self, ParallelError> {
        let control = Control::new(patience);
        let shared = control.clone();
        let thread = CommThread::start(control.clone(), move || MpiTransport::start(shared))?;
        Ok(Self { thread, control })
    }
}

impl Collective for MpiCollective {
    fn rank(&self) -> usize {
        self.thread.rank
    }

    fn size(&self) -> usize {
        self.thread.size
    }

    fn start_all_reduce(&self, tensor: &Tensor, op: ReduceOp, name: &str) -> Pending {
        self.thread.submit_tensor(tensor, name, None, |t| Work::AllReduce(t, op))
    }

    fn broadcast(&self, tensor: &mut Tensor, root: usize, name: &str) -> Result<(), ParallelError> {
        self.thread.submit_tensor(tensor, name, None, |t| Work::Broadcast(t, root)).wait().map(|_| ())
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

pub(super) struct MpiTransport {
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
    pub fn start(control: Control) -> Result<Self, ParallelError> {
        let (universe, level) = mpi::initialize_with_threading(mpi::Threading::Funneled)
            .ok_or_else(|| ParallelError::Start("MPI was started before in this process".into()))?;
        if level < mpi::Threading::Funneled {
            return Err(ParallelError::Start("this MPI library does not support programs with threads".into()));
        }
        let workers = universe
            .world()
            .split_by_color(Color::with_value(COLOR_WORKER))
            .ok_or_else(|| ParallelError::Start("the world could not be split".into()))?;
        let record = FlightRecord::new(workers.rank() as usize);
        let rendezvous = Rendezvous::new(workers.duplicate(), control);
        let comms = Some(Comms { workers, rendezvous });
        Ok(Self { universe: Some(universe), comms, staging: Staging::default(), record })
    }

    /// Lets `watch` look after other work of this thread while it waits here.
    pub fn watch(&mut self, watch: Rc<dyn Watch>) {
        if let Some(comms) = &mut self.comms {
            comms.rendezvous.watch = Some(watch);
        }
    }

    /// Notes that this rank has come to a collective that meets elsewhere.
    pub fn pass(&mut self, call: &Call) -> Result<&Rendezvous, ParallelError> {
        match &mut self.comms {
            Some(comms) => {
                comms.rendezvous.pass(call);
                Ok(&comms.rendezvous)
            }
            None => Err(ParallelError::Start("MPI is finalized already".into())),
        }
    }

    fn meet<'a>(&'a mut self, call: &'a Call) -> Result<Transfer<'a>, ParallelError> {
        let Some(Comms { workers, rendezvous }) = &mut self.comms else {
            return Err(ParallelError::Start("MPI is finalized already".into()));
        };
        let since = Instant::now();
        rendezvous.meet(call, since)?;
        Ok(Transfer { comm: workers, rendezvous, record: &self.record, call, since })
    }
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
            match t.f_kind()? {
                Kind::Float => exchange::reduce(&ranks, cpu_slice_mut(t)?, &mut staging.f32, op),
                Kind::Double => exchange::reduce(&ranks, cpu_slice_mut(t)?, &mut staging.f64, op),
                Kind::Int64 => exchange::reduce(&ranks, cpu_slice_mut(t)?, &mut staging.i64, op),
                Kind::BFloat16 => exchange::reduce_bf16(&ranks, cpu_bits_mut::<bf16>(t)?, &mut staging.bits, op),
                other => return Err(TorchError(format!("{other:?} tensors cannot be reduced"))),
            }
            Ok(())
        })
        .map_err(|e| failure(rank, call, e))?;
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
            ranks.broadcast(cpu_bytes_mut(t)?, root);
            Ok(())
        })
        .map_err(|e| failure(rank, call, e))?;
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

    fn look_around(&mut self) -> Result<(), ParallelError> {
        self.comms.as_ref().map_or(Ok(()), |comms| comms.rendezvous.look_around())
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
