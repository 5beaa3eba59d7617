//! What is under way on the device.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use tch::Tensor;

use super::communicator::{Communicator, Trouble};
use crate::call::Call;
use crate::cuda::Event;
use crate::error::ParallelError;
use crate::record::FlightRecord;
use crate::transport::rendezvous::{Rendezvous, Watch};

/// The collectives that the device was given. MPI looks after them while it waits for other ranks.
pub(super) struct InFlight(pub RefCell<Queue>);

impl Watch for InFlight {
    fn poll(&self, rendezvous: &Rendezvous) -> Result<(), ParallelError> {
        self.0.borrow_mut().poll(rendezvous)
    }
}

/// The communicator, and the collectives that the device was given and has not finished.
pub(super) struct Queue {
    /// `None` once it was aborted or finished.
    pub nccl: Option<Communicator>,
    pub rank: usize,
    record: FlightRecord,
    flights: VecDeque<Flight>,
}

/// A collective that the device was given.
struct Flight {
    call: Call,
    /// When it became the first in the queue: before, it could not begin.
    since: Instant,
    /// An event that it waits for on this rank.
    after: Option<Event>,
    done: Arc<Event>,
    /// Keeps the memory until the device is done with it.
    _tensor: Tensor,
}

impl Queue {
    /// Makes an empty one.
    pub fn new(nccl: Communicator, record: FlightRecord, rank: usize) -> Self {
        Self { nccl: Some(nccl), rank, record, flights: VecDeque::new() }
    }

    /// Adds a collective that waits for `after` and ends with `done`.
    pub fn push(&mut self, call: &Call, after: Option<Event>, done: Arc<Event>, tensor: &Tensor) {
        let _tensor = tensor.shallow_clone();
        self.flights.push_back(Flight { call: call.clone(), since: Instant::now(), after, done, _tensor });
    }

    /// Returns whether nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// Notes what is over, and ends everything if NCCL reports an error or a collective takes too long.
    fn poll(&mut self, rendezvous: &Rendezvous) -> Result<(), ParallelError> {
        let checked = self.check(rendezvous);
        checked.map_err(|error| self.abort(error))
    }

    fn check(&mut self, rendezvous: &Rendezvous) -> Result<(), ParallelError> {
        let Some(nccl) = &self.nccl else { return Ok(()) };
        while let Some(first) = self.flights.front() {
            if !first.done.query().map_err(|e| first.call.failed(self.rank, e))? {
                break;
            }
            self.record.ended(first.call.number, None);
            self.flights.pop_front();
            if let Some(next) = self.flights.front_mut() {
                next.since = Instant::now();
            }
        }
        nccl.health().map_err(|trouble| match self.flights.front() {
            Some(first) => trouble.of(self.rank, &first.call),
            None => match trouble {
                Trouble::Nccl(what) => ParallelError::Nccl(format!("rank {}: {what}", self.rank)),
                Trouble::Other(error) => error,
            },
        })?;
        let Some(first) = self.flights.front() else { return Ok(()) };
        rendezvous.check_timeout(&first.call, first.since).map_err(|error| match error {
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
    pub fn abort(&mut self, error: ParallelError) -> ParallelError {
        for flight in self.flights.drain(..) {
            self.record.ended(flight.call.number, Some(error.to_string()));
        }
        if let Some(mut nccl) = self.nccl.take() {
            nccl.abort();
        }
        error
    }
}

impl Flight {
    /// Returns whether this rank's device has come to it.
    fn is_reached(&self) -> bool {
        self.after.as_ref().is_none_or(|after| after.query().unwrap_or(false))
    }
}
