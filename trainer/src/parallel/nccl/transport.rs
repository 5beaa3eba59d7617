//! Tensors of the device over NCCL, everything else over MPI.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tch::Tensor;

use super::super::comm_thread::{Call, Transport, failure};
use super::super::mpi::{Control, MpiTransport};
use super::super::rendezvous::{Rendezvous, Watch};
use super::super::{FlightRecord, ParallelError, ReduceOp};
use super::communicator::{Communicator, Meanwhile, Trouble};
use super::driver::{Event, Stream};
use super::ground::{Ground, Mark, Platform};
use super::library::Library;

pub(super) struct NcclTransport {
    mpi: MpiTransport,
    ground: Ground,
    stream: Stream,
    flights: Rc<Flights>,
}

/// What is under way on the device. MPI looks after it while it waits for other ranks.
struct Flights(RefCell<UnderWay>);

struct UnderWay {
    /// `None` once it was aborted or finished.
    nccl: Option<Communicator>,
    queue: VecDeque<Flight>,
    record: FlightRecord,
    rank: usize,
}

/// A collective that the device was given.
struct Flight {
    call: Call,
    /// When it became the first in the queue: before, it could not begin.
    since: Instant,
    /// What it waits for on this rank.
    after: Option<Event>,
    done: Arc<Event>,
    /// Keeps the memory until the device is done with it.
    _tensor: Tensor,
}

impl NcclTransport {
    /// Starts MPI, loads the libraries, and makes one communicator of all workers, whose identity comes from rank 0 over
    /// MPI.
    pub fn start(platform: Platform, control: Control, opened: &OnceLock<Ground>) -> Result<Self, ParallelError> {
        let mut mpi = MpiTransport::start(control)?;
        let (rank, size, record) = (mpi.rank(), mpi.size(), mpi.record());
        let nccl = platform.nccl.clone();
        let loaded = Ground::open(platform).and_then(|ground| {
            let library = Library::open(nccl.as_deref())?;
            let version = library.version()?;
            // Rank 0 decides, and a library that cannot make an identity is as good as none.
            let id = if rank == 0 { library.unique_id()? } else { Vec::new() };
            Ok((ground, library, version, id))
        });
        let elsewhere = noted(&record, "agreement", "is NCCL there?", |call| mpi.any(loaded.is_err(), call))?;
        let (ground, library, version, id) = loaded?;
        if elsewhere {
            return Err(ParallelError::Nccl("another rank cannot use NCCL; it says why".into()));
        }
        let mut message = [&version.to_le_bytes()[..], &id[..]].concat();
        noted(&record, "broadcast of bytes", "NCCL's identity", |call| mpi.broadcast_bytes(&mut message, 0, call))?;
        let theirs = message.first_chunk().map(|v| i32::from_le_bytes(*v));
        let other = noted(&record, "agreement", "one NCCL version?", |call| mpi.any(theirs != Some(version), call))?;
        let id = message.get(4..).and_then(|id| <&[u8; 128]>::try_from(id).ok());
        let (false, Some(id)) = (other, id) else {
            return Err(ParallelError::Nccl(format!(
                "the ranks have loaded different versions: {version} on rank {rank}, {theirs:?} on rank 0"
            )));
        };
        ground.driver.enter()?;
        let communicator = noted(&record, "start", "NCCL communicator", |call| {
            let rendezvous = mpi.pass(call)?;
            let since = Instant::now();
            let mut meanwhile = || rendezvous.be_patient(call, since);
            Communicator::start(&Arc::new(library), id, rank, size, &mut meanwhile).map_err(|t| t.of(rank, call))
        })?;
        let under_way = UnderWay { nccl: Some(communicator), queue: VecDeque::new(), record: record.clone(), rank };
        let flights = Rc::new(Flights(RefCell::new(under_way)));
        mpi.watch(Rc::clone(&flights) as Rc<dyn Watch>);
        let stream = Stream::new(&ground.driver)?;
        // The first and only one to set it.
        let _ = opened.set(ground.clone());
        Ok(Self { mpi, ground, stream, flights })
    }

    /// Gives the device a collective behind `after`, and returns what stands behind it.
    fn enqueue(
        &mut self,
        tensor: &Tensor,
        after: Option<Event>,
        call: &Call,
        act: impl FnOnce(&Communicator, &Stream, Meanwhile<'_>) -> Result<(), Trouble>,
    ) -> Result<Option<Mark>, ParallelError> {
        let rendezvous = self.mpi.pass(call)?;
        let mut under_way = self.flights.0.borrow_mut();
        let rank = under_way.rank;
        let enqueued = (|| {
            let Some(nccl) = &under_way.nccl else { return Err(failure(rank, call, "NCCL has ended")) };
            if let Some(after) = &after {
                self.stream.wait(after)?;
            }
            let since = Instant::now();
            act(nccl, &self.stream, &mut || rendezvous.be_patient(call, since)).map_err(|t| t.of(rank, call))?;
            Ok(Arc::new(self.stream.record()?))
        })();
        match enqueued {
            Ok(done) => {
                let event = Arc::clone(&done);
                let _tensor = tensor.shallow_clone();
                under_way.queue.push_back(Flight { call: call.clone(), since: Instant::now(), after, done, _tensor });
                Ok(Some(Mark { event, ground: self.ground.clone() }))
            }
            Err(error) => Err(under_way.abort(error)),
        }
    }

    fn is_ours(&self, tensor: &Tensor) -> bool {
        tensor.device() == self.ground.platform.device
    }
}

/// Runs a call of the start, which no job stands for, and notes when it began and ended.
fn noted<T>(
    record: &FlightRecord,
    operation: &'static str,
    name: &str,
    run: impl FnOnce(&Call) -> Result<T, ParallelError>,
) -> Result<T, ParallelError> {
    let call = Call::new(record, operation, name, 0);
    record.started(call.number);
    let result = run(&call);
    record.ended(call.number, result.as_ref().err().map(ToString::to_string));
    result
}

impl Trouble {
    fn of(self, rank: usize, call: &Call) -> ParallelError {
        match self {
            Self::Nccl(what) => failure(rank, call, format!("NCCL: {what}")),
            Self::Other(error) => error,
        }
    }
}

impl UnderWay {
    /// Notes what is over, and ends everything where NCCL reports an error or a collective takes too long.
    fn look(&mut self, rendezvous: &Rendezvous) -> Result<(), ParallelError> {
        let checked = self.check(rendezvous);
        checked.map_err(|error| self.abort(error))
    }

    fn check(&mut self, rendezvous: &Rendezvous) -> Result<(), ParallelError> {
        let Some(nccl) = &self.nccl else { return Ok(()) };
        while let Some(first) = self.queue.front() {
            if !first.done.query().map_err(|e| failure(self.rank, &first.call, e))? {
                break;
            }
            self.record.ended(first.call.number, None);
            self.queue.pop_front();
            if let Some(next) = self.queue.front_mut() {
                next.since = Instant::now();
            }
        }
        nccl.health().map_err(|trouble| match self.queue.front() {
            Some(first) => trouble.of(self.rank, &first.call),
            None => match trouble {
                Trouble::Nccl(what) => ParallelError::Nccl(format!("rank {}: {what}", self.rank)),
                Trouble::Other(error) => error,
            },
        })?;
        let Some(first) = self.queue.front() else { return Ok(()) };
        rendezvous.be_patient(&first.call, first.since).map_err(|error| match error {
            ParallelError::Hung { rank, operation, seconds, who } if !first.is_reached() => ParallelError::Hung {
                rank,
                operation,
                seconds,
                who: format!("{who}; this rank's own device has not come to it either"),
            },
            error => error,
        })
    }

    /// Ends everything for this reason, and gives it back. What is queued on the device behind it runs on.
    fn abort(&mut self, error: ParallelError) -> ParallelError {
        for flight in self.queue.drain(..) {
            self.record.ended(flight.call.number, Some(error.to_string()));
        }
        if let Some(mut nccl) = self.nccl.take() {
            nccl.abort();
        }
        error
    }
}

impl Flight {
    /// Whether this rank's device has come to it.
    fn is_reached(&self) -> bool {
        self.after.as_ref().is_none_or(|after| after.query().unwrap_or(false))
    }
}

impl Watch for Flights {
    fn look(&self, rendezvous: &Rendezvous) -> Result<(), ParallelError> {
        self.0.borrow_mut().look(rendezvous)
    }
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

    fn look_around(&mut self) -> Result<(), ParallelError> {
        self.mpi.look_around()
    }

    fn finish(&mut self, call: &Call) -> Result<(), ParallelError> {
        while !self.flights.0.borrow().queue.is_empty() {
            self.mpi.look_around()?;
            std::thread::sleep(Duration::from_millis(1));
        }
        let nccl = self.flights.0.borrow_mut().nccl.take();
        if let Some(mut nccl) = nccl {
            let rendezvous = self.mpi.pass(call)?;
            let since = Instant::now();
            let ended = nccl.finish(&mut || rendezvous.be_patient(call, since));
            ended.map_err(|trouble| {
                nccl.abort();
                trouble.of(self.mpi.rank(), call)
            })?;
        }
        self.mpi.finish(call)
    }
}
