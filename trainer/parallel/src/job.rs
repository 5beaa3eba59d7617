//! What the communication thread is given to do.

use std::time::Instant;

use crossbeam_channel::Sender;
use tch::Tensor;

use crate::call::{Call, Operation};
use crate::collective::{Outcome, ReduceOp};
use crate::cuda::{Event, Mark};
use crate::error::ParallelError;
use crate::transport::interface::Transport;

/// A job's payload, and where a result goes that is not in a tensor.
pub(crate) enum Work {
    AllReduce(Tensor, ReduceOp),
    Broadcast(Tensor, usize),
    Bytes(Vec<u8>, usize, Sender<Vec<u8>>),
    Any(bool, Sender<bool>),
    Barrier,
    Finish,
}

impl Work {
    /// Returns which operation it is.
    pub fn operation(&self) -> Operation {
        match self {
            Self::AllReduce(..) => Operation::AllReduce,
            Self::Broadcast(..) => Operation::Broadcast,
            Self::Bytes(..) => Operation::BroadcastBytes,
            Self::Any(..) => Operation::Agreement,
            Self::Barrier => Operation::Barrier,
            Self::Finish => Operation::Finish,
        }
    }

    /// Does it. On CUDA it is enqueued behind `after`, and what stands behind it is returned.
    pub fn run(
        self,
        transport: &mut dyn Transport,
        after: Option<Event>,
        call: &Call,
    ) -> Result<Option<Mark>, ParallelError> {
        match self {
            Self::AllReduce(mut tensor, op) => return transport.all_reduce(&mut tensor, op, after, call),
            Self::Broadcast(mut tensor, root) => return transport.broadcast(&mut tensor, root, after, call),
            Self::Bytes(mut bytes, root, back) => {
                transport.broadcast_bytes(&mut bytes, root, call)?;
                let _ = back.send(bytes);
            }
            Self::Any(flag, back) => {
                let _ = back.send(transport.any(flag, call)?);
            }
            Self::Barrier => transport.barrier(call)?,
            Self::Finish => transport.finish(call)?,
        }
        Ok(None)
    }
}

/// Work on its way to the thread.
pub(crate) struct Job {
    pub call: Call,
    pub work: Work,
    /// An event that must be over on the device before.
    pub after: Option<Event>,
    pub queued: Instant,
    pub reply: Sender<Outcome>,
}
