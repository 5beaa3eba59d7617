//! The one thread that talks to other ranks.
//!
//! Jobs are handed over in the order in which they shall run, and run one after the other. That order is the same on
//! every rank, which is what makes collectives meet; a transport checks it ([`super::rendezvous`]).

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use tch::Tensor;

use super::collective::Outcome;
use super::mpi::Control;
use super::nccl::{Event, Mark};
use super::watchdog::{self, Busy};
use super::{FlightRecord, ParallelError, Pending, ReduceOp, Timing};

/// How often an idle thread lets its transport look around.
const IDLE: Duration = Duration::from_millis(250);

/// Which collective, for what.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub number: u64,
    pub operation: &'static str,
    pub name: String,
    pub bytes: usize,
    /// Where the run was when it was handed over, such as `diffusion, after 12 steps`; may be empty.
    pub place: String,
}

impl Call {
    /// The next one of a record, which notes it.
    pub fn new(record: &FlightRecord, operation: &'static str, name: &str, bytes: usize) -> Self {
        let (number, place) = record.queued(operation, name, bytes);
        Self { number, operation, name: name.to_owned(), bytes, place }
    }
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} #{} ({}, {} bytes)", self.operation, self.number, self.name, self.bytes)?;
        if self.place.is_empty() { Ok(()) } else { write!(f, " of {}", self.place) }
    }
}

/// What moves data. It is made, used and dropped on the communication thread alone.
pub(super) trait Transport {
    fn rank(&self) -> usize;
    fn size(&self) -> usize;
    fn record(&self) -> FlightRecord;
    /// Reduces in place. On CUDA the work is enqueued behind `after`, and an event behind it is returned.
    fn all_reduce(
        &mut self,
        tensor: &mut Tensor,
        op: ReduceOp,
        after: Option<Event>,
        call: &Call,
    ) -> Result<Option<Mark>, ParallelError>;
    fn broadcast(
        &mut self,
        tensor: &mut Tensor,
        root: usize,
        after: Option<Event>,
        call: &Call,
    ) -> Result<Option<Mark>, ParallelError>;
    fn broadcast_bytes(&mut self, bytes: &mut Vec<u8>, root: usize, call: &Call) -> Result<(), ParallelError>;
    fn any(&mut self, flag: bool, call: &Call) -> Result<bool, ParallelError>;
    fn barrier(&mut self, call: &Call) -> Result<(), ParallelError>;
    /// Called after every job, and a few times a second while there is nothing to do.
    fn look_around(&mut self) -> Result<(), ParallelError>;
    /// The orderly end, on all ranks together. Dropping a transport without it must not wait for anyone.
    fn finish(&mut self, call: &Call) -> Result<(), ParallelError>;
}

/// A job's payload.
pub(super) enum Work {
    AllReduce(Tensor, ReduceOp),
    Broadcast(Tensor, usize),
    Bytes(Vec<u8>, usize, Sender<Vec<u8>>),
    Any(bool, Sender<bool>),
    Barrier,
    Finish,
}

struct Job {
    call: Call,
    work: Work,
    after: Option<Event>,
    queued: Instant,
    reply: Sender<Outcome>,
}

/// A handle to the thread.
pub(super) struct CommThread {
    pub rank: usize,
    pub size: usize,
    pub record: FlightRecord,
    // The lock makes numbering and queueing one act.
    jobs: Mutex<Sender<Job>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl CommThread {
    /// Starts the thread, the transport on it, and the watchdog over it.
    pub fn start<T, F>(control: Control, make: F) -> Result<Self, ParallelError>
    where
        T: Transport + 'static,
        F: FnOnce() -> Result<T, ParallelError> + Send + 'static,
    {
        let (jobs, queue) = unbounded::<Job>();
        let (ready, started) = bounded(1);
        let thread = std::thread::Builder::new()
            .name("communication".into())
            .spawn(move || {
                let mut transport = match make() {
                    Ok(t) => t,
                    Err(e) => {
                        let _ = ready.send(Err(e));
                        return;
                    }
                };
                let record = transport.record();
                let busy = Arc::default();
                let watched = watchdog::watch(&busy, control, record.clone());
                let _ = ready.send(watched.map(|()| (transport.rank(), transport.size(), record.clone())));
                serve(&mut transport, &queue, &record, &busy);
            })
            .map_err(|e| ParallelError::Start(format!("no communication thread: {e}")))?;
        let (rank, size, record) = started
            .recv()
            .unwrap_or_else(|_| Err(ParallelError::Start("the communication thread ended while starting".into())))?;
        Ok(Self { rank, size, record, jobs: Mutex::new(jobs), thread: Mutex::new(Some(thread)) })
    }

    /// Hands a job over.
    pub fn submit(&self, work: Work, bytes: usize, name: &str, after: Option<Event>) -> Pending {
        let operation = match work {
            Work::AllReduce(..) => "all-reduce",
            Work::Broadcast(..) => "broadcast",
            Work::Bytes(..) => "broadcast of bytes",
            Work::Any(..) => "agreement",
            Work::Barrier => "barrier",
            Work::Finish => "finish",
        };
        let (reply, outcome) = bounded(1);
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let call = Call::new(&self.record, operation, name, bytes);
        let gone = failure(self.rank, &call, "the communication thread has ended");
        // Where the thread has ended, the reply channel is dropped with the job, and `wait` says so.
        let _ = jobs.send(Job { call, work, after, queued: Instant::now(), reply });
        Pending::queued(outcome, gone)
    }

    /// Hands over what `work` does with a tensor.
    pub fn submit_tensor(
        &self,
        tensor: &Tensor,
        name: &str,
        after: Option<Event>,
        work: impl FnOnce(Tensor) -> Work,
    ) -> Pending {
        let bytes = tensor.numel() * tensor.f_kind().map_or(0, |k| k.elt_size_in_bytes());
        self.submit(work(tensor.shallow_clone()), bytes, name, after)
    }

    /// Returns when every rank has come.
    pub fn barrier(&self, name: &str) -> Result<(), ParallelError> {
        self.submit(Work::Barrier, 0, name, None).wait().map(|_| ())
    }

    /// Whether the flag is set on any rank.
    pub fn any(&self, flag: bool, name: &str) -> Result<bool, ParallelError> {
        let (back, result) = bounded(1);
        self.submit(Work::Any(flag, back), size_of::<i64>(), name, None).wait()?;
        result.recv().map_err(|_| self.ended(format!("agreement ({name})")))
    }

    /// Broadcasts bytes.
    pub fn broadcast_bytes(&self, bytes: &mut Vec<u8>, root: usize, name: &str) -> Result<(), ParallelError> {
        let (back, result) = bounded(1);
        let length = bytes.len();
        // The length need not be the same on all ranks, and so is no part of the call.
        self.submit(Work::Bytes(std::mem::take(bytes), root, back), 0, name, None).wait()?;
        *bytes = result.recv().map_err(|_| self.ended(format!("broadcast of {length} bytes ({name})")))?;
        Ok(())
    }

    fn ended(&self, operation: String) -> ParallelError {
        ParallelError::Collective { rank: self.rank, operation, what: "the communication thread has ended".into() }
    }

    /// The orderly end; returns when the thread has ended. Later calls fail.
    pub fn finish(&self) -> Result<(), ParallelError> {
        let result = self.submit(Work::Finish, 0, "end of the run", None).wait().map(|_| ());
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()
            && thread.join().is_err()
        {
            return Err(ParallelError::Start("the communication thread panicked".into()));
        }
        result
    }
}

pub(super) fn failure(rank: usize, call: &Call, what: impl std::fmt::Display) -> ParallelError {
    ParallelError::Collective { rank, operation: call.to_string(), what: what.to_string() }
}

fn serve(transport: &mut dyn Transport, queue: &Receiver<Job>, record: &FlightRecord, busy: &Busy) {
    let mut broken: Option<ParallelError> = None;
    let note = |broken: &mut Option<ParallelError>, e: &ParallelError| {
        if broken.is_none() {
            record.dump_failure(e);
            *broken = Some(e.clone());
        }
    };
    loop {
        let job = match queue.recv_timeout(IDLE) {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => {
                if let Err(e) = transport.look_around() {
                    note(&mut broken, &e);
                }
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let last = matches!(job.work, Work::Finish);
        let started = record.started(job.call.number);
        busy.set(Some(&job.call));
        let result = match &broken {
            // The ranks are no longer in step: going on would pair calls that do not belong together.
            Some(e) => Err(e.clone()),
            None => run(transport, job.work, job.after, &job.call),
        };
        busy.set(None);
        let ended = match &result {
            // It is under way on the device, and the transport notes its end.
            Ok(Some(_)) => Instant::now(),
            other => record.ended(job.call.number, other.as_ref().err().map(ToString::to_string)),
        };
        if let Err(e) = &result {
            note(&mut broken, e);
        }
        let timing = Timing { queued: job.queued, started, ended };
        // Nobody waits for it any more: the caller has failed for another reason.
        let _ = job.reply.send(result.map(|mark| (timing, mark)));
        if last {
            return;
        }
        if let Err(e) = transport.look_around() {
            note(&mut broken, &e);
        }
    }
}

fn run(
    transport: &mut dyn Transport,
    work: Work,
    after: Option<Event>,
    call: &Call,
) -> Result<Option<Mark>, ParallelError> {
    match work {
        Work::AllReduce(mut tensor, op) => return transport.all_reduce(&mut tensor, op, after, call),
        Work::Broadcast(mut tensor, root) => return transport.broadcast(&mut tensor, root, after, call),
        Work::Bytes(mut bytes, root, back) => {
            transport.broadcast_bytes(&mut bytes, root, call)?;
            let _ = back.send(bytes);
        }
        Work::Any(flag, back) => {
            let _ = back.send(transport.any(flag, call)?);
        }
        Work::Barrier => transport.barrier(call)?,
        Work::Finish => transport.finish(call)?,
    }
    Ok(None)
}
