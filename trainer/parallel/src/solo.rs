//! A world of one.

use std::time::Instant;

use tch::Tensor;

use crate::collective::{Collective, Pending, ReduceOp, Timing};
use crate::error::ParallelError;
use crate::record::FlightRecord;

/// A world of one rank, without MPI: every collective is over as soon as it begins.
#[derive(Debug)]
pub struct SoloCollective {
    record: FlightRecord,
}

impl SoloCollective {
    /// Makes the world of one.
    pub fn new() -> Self {
        Self { record: FlightRecord::new(0) }
    }
}

impl Default for SoloCollective {
    fn default() -> Self {
        Self::new()
    }
}

impl Collective for SoloCollective {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn start_all_reduce(&self, _tensor: &Tensor, _op: ReduceOp, _name: &str) -> Pending {
        let now = Instant::now();
        Pending::done(Ok((Timing { queued: now, started: now, ended: now }, None)))
    }

    fn broadcast(&self, _tensor: &mut Tensor, _root: usize, _name: &str) -> Result<(), ParallelError> {
        Ok(())
    }

    fn broadcast_bytes(&self, _bytes: &mut Vec<u8>, _root: usize, _name: &str) -> Result<(), ParallelError> {
        Ok(())
    }

    fn barrier(&self, _name: &str) -> Result<(), ParallelError> {
        Ok(())
    }

    fn any(&self, flag: bool, _name: &str) -> Result<bool, ParallelError> {
        Ok(flag)
    }

    fn flight_record(&self) -> FlightRecord {
        self.record.clone()
    }
}
