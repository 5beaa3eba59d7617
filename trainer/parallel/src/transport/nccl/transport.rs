//! Tensors of the device over NCCL, everything else over MPI.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tch::Tensor;

use super::communicator::{Communicator, Meanwhile, Trouble};
use super::in_flight::{InFlight, Queue};
use super::library::Library;
use crate::call::{Call, Operation};
use crate::collective::ReduceOp;
use crate::cuda::{Context, Event, Mark, Platform, Stream};
use crate::error::ParallelError;
use crate::record::FlightRecord;
use crate::timeout::Timeout;
use crate::transport::interface::Transport;
use crate::transport::mpi::MpiTransport;
use crate::transport::rendezvous::Watch;

/// Tensors on one device over NCCL, on a stream of its own; everything else over MPI.
pub(crate) struct NcclTransport {
    mpi: MpiTransport,
    context: Context,
    stream: Stream,
    in_flight: Rc<InFlight>,
}

impl NcclTransport {
    /// Starts MPI, loads the libraries, and makes one communicator of all workers, whose identity comes from rank 0
    /// over MPI.
    pub fn start(platform: Platform, timeout: Timeout) -> Result<Self, ParallelError> {
        let mut mpi = MpiTransport::start(timeout)?;
        let (rank, size, record) = (mpi.rank(), mpi.size(), mpi.record());
        let nccl = platform.nccl.clone();
        let loaded = Context::open(platform).and_then(|context| {
            let library = Library::open(nccl.as_deref())?;
            let version = library.version()?;
            // Rank 0 decides, and a library that cannot make an identity is as good as none.
            let id = if rank == 0 { library.unique_id()? } else { Vec::new() };
            Ok((context, library, version, id))
        });
        let agree = Operation::Agreement;
        let elsewhere = noted(&record, agree, "is NCCL there?", |call| mpi.any(loaded.is_err(), call))?;
        let (context, library, version, id) = loaded?;
        if elsewhere {
            return Err(ParallelError::Nccl("another rank cannot use NCCL; it says why".into()));
        }
        let mut message = [&version.to_le_bytes()[..], &id[..]].concat();
        noted(&record, Operation::BroadcastBytes, "NCCL's identity", |call| {
            mpi.broadcast_bytes(&mut message, 0, call)
        })?;
        let theirs = message.first_chunk().map(|v| i32::from_le_bytes(*v));
        let other = noted(&record, agree, "one NCCL version?", |call| mpi.any(theirs != Some(version), call))?;
        let id = message.get(4..).and_then(|id| <&[u8; 128]>::try_from(id).ok());
        let (false, Some(id)) = (other, id) else {
            return Err(ParallelError::Nccl(format!(
                "the ranks have loaded different versions: {version} on rank {rank}, {theirs:?} on rank 0"
            )));
        };
        context.enter()?;
        let communicator = noted(&record, Operation::Start, "NCCL communicator", |call| {
            let rendezvous = mpi.arrive(call)?;
            let since = Instant::now();
            let mut meanwhile = || rendezvous.check_timeout(call, since);
            Communicator::start(&Arc::new(library), id, rank, size, &mut meanwhile).map_err(|t| t.of(rank, call))
        })?;
        let in_flight = Rc::new(InFlight(RefCell::new(Queue::new(communicator, record, rank))));
        mpi.watch(Rc::clone(&in_flight) as Rc<dyn Watch>);
        let stream = context.new_stream()?;
        Ok(Self { mpi, context, stream, in_flight })
    }

    /// Gives the device a collective behind `after`, and returns what stands behind it.
    fn enqueue(
        &mut self,
        tensor: &Tensor,
        after: Option<Event>,
        call: &Call,
        act: impl FnOnce(&Communicator, &Stream, Meanwhile<'_>) -> Result<(), Trouble>,
    ) -> Result<Option<Mark>, ParallelError> {
        let rendezvous = self.mpi.arrive(call)?;
        let mut queue = self.in_flight.0.borrow_mut();
        let rank = queue.rank;
        let enqueued = (|| {
            let Some(nccl) = &queue.nccl else { return Err(call.failed(rank, "NCCL has ended")) };
            if let Some(after) = &after {
                self.stream.wait(after)?;
            }
            let since = Instant::now();
            act(nccl, &self.stream, &mut || rendezvous.check_timeout(call, since)).map_err(|t| t.of(rank, call))?;
            Ok(Arc::new(self.stream.record()?))
        })();
        match enqueued {
            Ok(done) => {
                queue.push(call, after, Arc::clone(&done), tensor);
                Ok(Some(Mark::new(done, self.context.clone())))
            }
            Err(error) => Err(queue.abort(error)),
        }
    }

    fn is_ours(&self, tensor: &Tensor) -> bool {
        tensor.device() == self.context.device()
    }
}

/// Runs a call of the start, which no job stands for, and notes when it began and ended.
fn noted<T>(
    record: &FlightRecord,
    operation: Operation,
    name: &str,
    run: impl FnOnce(&Call) -> Result<T, ParallelError>,
) -> Result<T, ParallelError> {
    let call = record.queued(operation, name, 0);
    record.started(call.number);
    let result = run(&call);
    record.ended(call.number, result.as_ref().err().map(ToString::to_string));
    result
}

impl Transport for NcclTransport {
    fn rank(&self) -> usize {
        self.mpi.rank()
    }

    fn size(&self) -> usize {
        self.mpi.size()
    }

    fn record(&self) -> FlightRecord {
        self.mpi.record()
    }

    fn context(&self) -> Option<Context> {
        Some(self.context.clone())
    }

    fn all_reduce(
        &mut self,
        tensor: &mut Tensor,
        op: ReduceOp,
        after: Option<Event>,
        call: &Call,
    ) -> Result<Option<Mark>, ParallelError> {
        if !self.is_ours(tensor) {
            return self.mpi.all_reduce(tensor, op, after, call);
        }
        self.enqueue(tensor, after, call, |nccl, on, meanwhile| nccl.all_reduce(tensor, op, on, meanwhile))
    }

    fn broadcast(
        &mut self,
        tensor: &mut Tensor,
        root: usize,
        after: Option<Event>,
        call: &Call,
    ) -> Result<Option<Mark>, ParallelError> {
        if !self.is_ours(tensor) {
            return self.mpi.broadcast(tensor, root, after, call);
        }
        self.enqueue(tensor, after, call, |nccl, on, meanwhile| nccl.broadcast(tensor, root, on, meanwhile))
    }

    fn broadcast_bytes(&mut self, bytes: &mut Vec<u8>, root: usize, call: &Call) -> Result<(), ParallelError> {
        self.mpi.broadcast_bytes(bytes, root, call)
    }

    fn any(&mut self, flag: bool, call: &Call) -> Result<bool, ParallelError> {
        self.mpi.any(flag, call)
    }

    fn barrier(&mut self, call: &Call) -> Result<(), ParallelError> {
        self.mpi.barrier(call)
    }

    fn poll(&mut self) -> Result<(), ParallelError> {
        self.mpi.poll()
    }

    fn finish(&mut self, call: &Call) -> Result<(), ParallelError> {
        while !self.in_flight.0.borrow().is_empty() {
            self.mpi.poll()?;
            std::thread::sleep(Duration::from_millis(1));
        }
        let nccl = self.in_flight.0.borrow_mut().nccl.take();
        if let Some(mut nccl) = nccl {
            let rendezvous = self.mpi.arrive(call)?;
            let since = Instant::now();
            let ended = nccl.finish(&mut || rendezvous.check_timeout(call, since));
            ended.map_err(|trouble| {
                nccl.abort();
                trouble.of(self.mpi.rank(), call)
            })?;
        }
        self.mpi.finish(call)
    }
}
