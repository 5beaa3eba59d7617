//! What the communication thread asks of a transport.

use tch::Tensor;

use crate::call::Call;
use crate::collective::ReduceOp;
use crate::cuda::{Context, Event, Mark};
use crate::error::ParallelError;
use crate::record::FlightRecord;

/// Something that moves data between ranks. It is made, used and dropped on the communication thread alone.
pub(crate) trait Transport {
    /// Returns this process's number, from 0.
    fn rank(&self) -> usize;

    /// Returns the number of ranks.
    fn size(&self) -> usize;

    /// Returns the record that calls are noted in.
    fn record(&self) -> FlightRecord;

    /// Returns the context of the device that it moves tensors of, if there is one.
    fn context(&self) -> Option<Context> {
        None
    }

    /// Reduces in place. On CUDA the work is enqueued behind `after`, and an event behind it is returned.
    fn all_reduce(
        &mut self,
        tensor: &mut Tensor,
        op: ReduceOp,
        after: Option<Event>,
        call: &Call,
    ) -> Result<Option<Mark>, ParallelError>;

    /// Makes the tensor equal to the root's, in place; on CUDA as [`Transport::all_reduce`] does.
    fn broadcast(
        &mut self,
        tensor: &mut Tensor,
        root: usize,
        after: Option<Event>,
        call: &Call,
    ) -> Result<Option<Mark>, ParallelError>;

    /// Makes the bytes equal to the root's, whose length the others need not know.
    fn broadcast_bytes(&mut self, bytes: &mut Vec<u8>, root: usize, call: &Call) -> Result<(), ParallelError>;

    /// Returns whether the flag is set on any rank.
    fn any(&mut self, flag: bool, call: &Call) -> Result<bool, ParallelError>;

    /// Returns when every rank has come.
    fn barrier(&mut self, call: &Call) -> Result<(), ParallelError>;

    /// Looks after what is under way. Called after every job, and a few times a second while there is nothing to do.
    fn poll(&mut self) -> Result<(), ParallelError>;

    /// Ends in order, on all ranks together. Dropping a transport without it must not wait for anyone.
    fn finish(&mut self, call: &Call) -> Result<(), ParallelError>;
}
