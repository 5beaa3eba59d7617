//! The seam between training and communication.

use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use tch::Tensor;

use crate::cuda::Mark;
use crate::error::ParallelError;
use crate::record::FlightRecord;

/// A way in which values of different ranks become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReduceOp {
    /// Their sum.
    Sum,
    /// The largest.
    Max,
}

/// A group of ranks that compute together.
///
/// Every rank calls the same methods in the same order with tensors of the same shape and kind: float32, float64,
/// int64 or bfloat16. The result of a reduction is bit-identical on all ranks. Over MPI, sums are added in the order of
/// the ranks (bfloat16 in float32, rounded once), so that they do not depend on where in a tensor an element lies; over
/// NCCL the order is NCCL's own, the same for the same tensor, ranks and machines.
///
/// Errors name the rank and the operation. After one, every further call fails alike.
pub trait Collective: Send + Sync {
    /// Returns this process's number, from 0.
    fn rank(&self) -> usize;

    /// Returns the number of ranks.
    fn size(&self) -> usize;

    /// Starts the reduction of a tensor in place and returns at once. Until [`Pending::wait`] has returned, nobody may
    /// touch its elements. `name` says what it is for, in errors and in the flight record.
    fn start_all_reduce(&self, tensor: &Tensor, op: ReduceOp, name: &str) -> Pending;

    /// Makes the tensor equal to the root's, in place.
    fn broadcast(&self, tensor: &mut Tensor, root: usize, name: &str) -> Result<(), ParallelError>;

    /// Makes the bytes equal to the root's. Ranks other than the root need not know the length.
    fn broadcast_bytes(&self, bytes: &mut Vec<u8>, root: usize, name: &str) -> Result<(), ParallelError>;

    /// Returns when every rank has come.
    fn barrier(&self, name: &str) -> Result<(), ParallelError>;

    /// Returns whether the flag is set on any rank.
    fn any(&self, flag: bool, name: &str) -> Result<bool, ParallelError>;

    /// Returns the record of this rank's last collectives.
    fn flight_record(&self) -> FlightRecord;

    /// Sets how long a collective waits for ranks that do not come, before it fails with their names; `None` is for
    /// ever. May be changed at any time.
    fn set_timeout(&self, _limit: Option<Duration>) {}

    /// Ends in order, which waits for all ranks. A worker that ends without it is taken for crashed by `mpirun`, which
    /// then ends the job. Later calls fail.
    ///
    /// # Errors
    /// An earlier collective failed, or this one.
    fn finish(&self) -> Result<(), ParallelError> {
        Ok(())
    }

    /// Reduces a tensor in place.
    fn all_reduce(&self, tensor: &mut Tensor, op: ReduceOp, name: &str) -> Result<(), ParallelError> {
        self.start_all_reduce(tensor, op, name).wait().map(|_| ())
    }
}

/// The times of a collective. On CUDA: of its enqueueing.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// When it was handed over.
    pub queued: Instant,
    /// When the communication thread came to it.
    pub started: Instant,
    /// When it was over.
    pub ended: Instant,
}

/// The reply of a finished job: when it ran, and on CUDA an event behind it.
pub(crate) type Outcome = Result<(Timing, Option<Mark>), ParallelError>;

/// A collective under way.
#[derive(Debug)]
#[must_use = "a collective must be waited for before its tensor is used"]
pub struct Pending {
    state: State,
    /// A contiguous copy that was reduced, and the tensor that it goes to in the end.
    copy: Option<(Tensor, Tensor)>,
}

#[derive(Debug)]
enum State {
    Done(Outcome),
    Queued { reply: Receiver<Outcome>, gone: ParallelError },
}

impl Pending {
    /// Makes one that is over already.
    pub(crate) fn done(outcome: Outcome) -> Self {
        Self { state: State::Done(outcome), copy: None }
    }

    /// Makes one that is queued; `gone` is the error if the communication thread ends without a reply.
    pub(crate) fn queued(reply: Receiver<Outcome>, gone: ParallelError) -> Self {
        Self { state: State::Queued { reply, gone }, copy: None }
    }

    /// Copies `from` to `to` at the end of [`Pending::wait`].
    pub(crate) fn then_copy(self, from: Tensor, to: Tensor) -> Self {
        Self { copy: Some((from, to)), ..self }
    }

    /// Waits until what follows may use the tensor: on CPU until the collective is over, on CUDA until it is enqueued,
    /// and libtorch's current stream then waits for it on the device.
    ///
    /// # Errors
    /// That of the collective.
    pub fn wait(self) -> Result<Timing, ParallelError> {
        let outcome = match self.state {
            State::Done(outcome) => outcome,
            State::Queued { reply, gone } => reply.recv().unwrap_or(Err(gone)),
        };
        let (timing, mark) = outcome?;
        if let Some(mark) = mark {
            mark.block_current_stream()?;
        }
        if let Some((from, mut to)) = self.copy {
            tch::no_grad(|| to.f_copy_(&from))?;
        }
        Ok(timing)
    }
}
