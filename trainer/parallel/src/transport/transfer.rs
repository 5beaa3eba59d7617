//! Data on its way between ranks that have met ([`super::rendezvous`]).
//!
//! Everything here is non-blocking inside: a rank that waits for data answers others and looks at the clock, so that
//! one that is lost in the middle of a collective is named like one that never came to it.

use std::time::Instant;

use defusion_config::protocol::EXIT_HUNG;
use mpi::request::{Request, Scope, scope};
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;

use super::rendezvous::{POLL, Rendezvous};
use crate::call::Call;
use crate::record::FlightRecord;

/// Elements of a message: a count is an i32 in MPI.
const MESSAGE: usize = 1 << 28;

/// The ranks that have met for `call`.
pub(super) struct Transfer<'a> {
    pub comm: &'a SimpleCommunicator,
    pub rendezvous: &'a Rendezvous,
    pub record: &'a FlightRecord,
    pub call: &'a Call,
    /// When this rank came to the collective.
    pub since: Instant,
}

impl Transfer<'_> {
    /// Returns how many they are.
    pub fn ranks(&self) -> usize {
        self.comm.size() as usize
    }

    /// `received` becomes what all ranks send, one after the other.
    pub fn all_gather<T: Equivalence>(&self, sent: &[T], received: &mut [T]) {
        scope(|scope| self.complete(self.comm.immediate_all_gather_into(scope, sent, received)));
    }

    /// Every rank gets one of the equal parts of `sent`; `received` becomes the parts for this rank.
    pub fn all_to_all<T: Equivalence>(&self, sent: &[T], received: &mut [T]) {
        scope(|scope| self.complete(self.comm.immediate_all_to_all_into(scope, sent, received)));
    }

    /// `data` becomes what it is on rank `root`.
    pub fn broadcast<T: Equivalence>(&self, data: &mut [T], root: usize) {
        let root = self.comm.process_at_rank(root as i32);
        for part in data.chunks_mut(MESSAGE) {
            scope(|scope| self.complete(root.immediate_broadcast_into(scope, part)));
        }
    }

    /// Waits for the data. Ends the process if it does not come: MPI would write to its memory at any time.
    fn complete<'m, D: ?Sized, S: Scope<'m>>(&self, mut request: Request<'m, D, S>) {
        let mut polled = Instant::now();
        while let Err(pending) = request.test() {
            request = pending;
            if polled.elapsed() < POLL {
                continue;
            }
            polled = Instant::now();
            if let Err(hung) = self.rendezvous.check_timeout(self.call, self.since) {
                self.record.dump_failure(&hung);
                std::process::exit(EXIT_HUNG);
            }
        }
    }
}
