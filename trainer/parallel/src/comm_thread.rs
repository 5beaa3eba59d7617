//! The one thread that talks to other ranks.
//!
//! Jobs are handed over in the order in which they shall run, and run one after the other. That order is the same on
//! every rank, which is what makes collectives meet; a transport checks it.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use tch::Tensor;

use crate::collective::{Pending, Timing};
use crate::cuda::{Context, Event};
use crate::error::ParallelError;
use crate::job::{Job, Work};
use crate::record::FlightRecord;
use crate::timeout::Timeout;
use crate::transport::interface::Transport;
use crate::watchdog::{self, Busy};

/// Interval at which an idle thread lets its transport look after what is under way.
const IDLE: Duration = Duration::from_millis(250);

/// A handle to the thread, and what it knows of its transport.
pub(crate) struct CommThread {
    pub rank: usize,
    pub size: usize,
    pub record: FlightRecord,
    pub context: Option<Context>,
    // The lock makes numbering and queueing one act.
    jobs: Mutex<Sender<Job>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl CommThread {
    /// Starts the thread, the transport on it, and the watchdog over it.
    pub fn start<T, F>(timeout: &Timeout, make: F) -> Result<Self, ParallelError>
    where
        T: Transport + 'static,
        F: FnOnce(Timeout) -> Result<T, ParallelError> + Send + 'static,
    {
        let (jobs, queue) = unbounded::<Job>();
        let (ready, started) = bounded(1);
        let timeout = timeout.clone();
        let thread = std::thread::Builder::new()
            .name("communication".into())
            .spawn(move || {
                let mut transport = match make(timeout.clone()) {
                    Ok(t) => t,
                    Err(e) => {
                        let _ = ready.send(Err(e));
                        return;
                    }
                };
                let record = transport.record();
                let busy = Arc::default();
                let watched = watchdog::watch(&busy, timeout, record.clone());
                let known = (transport.rank(), transport.size(), record.clone(), transport.context());
                let _ = ready.send(watched.map(|()| known));
                serve(&mut transport, &queue, &record, &busy);
            })
            .map_err(|e| ParallelError::Thread(format!("no communication thread: {e}")))?;
        let (rank, size, record, context) = started
            .recv()
            .unwrap_or_else(|_| Err(ParallelError::Thread("the communication thread ended while starting".into())))?;
        Ok(Self { rank, size, record, context, jobs: Mutex::new(jobs), thread: Mutex::new(Some(thread)) })
    }

    /// Hands a job over.
    pub fn submit(&self, work: Work, bytes: usize, name: &str, after: Option<Event>) -> Pending {
        let (reply, outcome) = bounded(1);
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let call = self.record.queued(work.operation(), name, bytes);
        let gone = call.failed(self.rank, ENDED);
        // If the thread has ended, the reply channel is dropped with the job, and `wait` says so.
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

    /// Returns whether the flag is set on any rank.
    pub fn any(&self, flag: bool, name: &str) -> Result<bool, ParallelError> {
        let (back, result) = bounded(1);
        self.submit(Work::Any(flag, back), size_of::<i64>(), name, None).wait()?;
        result.recv().map_err(|_| self.ended(format!("agreement ({name})")))
    }

    /// Makes the bytes equal to the root's.
    pub fn broadcast_bytes(&self, bytes: &mut Vec<u8>, root: usize, name: &str) -> Result<(), ParallelError> {
        let (back, result) = bounded(1);
        let length = bytes.len();
        // The length need not be the same on all ranks, and so is no part of the call.
        self.submit(Work::Bytes(std::mem::take(bytes), root, back), 0, name, None).wait()?;
        *bytes = result.recv().map_err(|_| self.ended(format!("broadcast of {length} bytes ({name})")))?;
        Ok(())
    }

    fn ended(&self, operation: String) -> ParallelError {
        ParallelError::Collective { rank: self.rank, operation, what: ENDED.into() }
    }

    /// Ends in order; returns when the thread has ended. Later calls fail.
    pub fn finish(&self) -> Result<(), ParallelError> {
        let result = self.submit(Work::Finish, 0, "end of the run", None).wait().map(|_| ());
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()
            && thread.join().is_err()
        {
            return Err(ParallelError::Thread("the communication thread panicked".into()));
        }
        result
    }
}

const ENDED: &str = "the communication thread has ended";

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
                if let Err(e) = transport.poll() {
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
            None => job.work.run(transport, job.after, &job.call),
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
        if let Err(e) = transport.poll() {
            note(&mut broken, &e);
        }
    }
}
