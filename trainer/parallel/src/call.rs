//! One collective call: its number, what it does and what it is for.

use std::fmt;

use crate::error::ParallelError;

/// A kind of collective. Its code in messages between ranks is its place in this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Tensors of all ranks become their sum or maximum.
    AllReduce,
    /// A tensor becomes one rank's.
    Broadcast,
    /// Bytes become one rank's.
    BroadcastBytes,
    /// All ranks learn whether a flag is set on any of them.
    Agreement,
    /// All ranks wait for each other.
    Barrier,
    /// The orderly end.
    Finish,
    /// NCCL's communicator is made. Ranks meet in it by NCCL's own means.
    Start,
}

impl Operation {
    const ALL: [Self; 7] = [
        Self::AllReduce,
        Self::Broadcast,
        Self::BroadcastBytes,
        Self::Agreement,
        Self::Barrier,
        Self::Finish,
        Self::Start,
    ];

    /// The number that stands for it in messages between ranks.
    pub(crate) fn code(self) -> u64 {
        self as u64
    }

    /// The operation with this code; `None` if another rank's program has more of them.
    pub(crate) fn of_code(code: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?).copied()
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AllReduce => "all-reduce",
            Self::Broadcast => "broadcast",
            Self::BroadcastBytes => "broadcast of bytes",
            Self::Agreement => "agreement",
            Self::Barrier => "barrier",
            Self::Finish => "finish",
            Self::Start => "start",
        })
    }
}

/// One call of a collective on this rank.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Number of calls that this rank was given before it. Equal numbers meet on different ranks.
    pub number: u64,
    pub operation: Operation,
    /// Purpose, such as `unet bucket 3/12`.
    pub name: String,
    /// Payload in bytes.
    pub bytes: usize,
    /// Place of the run when it was handed over, such as `diffusion, after 12 steps`; may be empty.
    pub place: String,
}

impl Call {
    /// Returns the error for a failure of this call on this rank.
    pub fn failed(&self, rank: usize, what: impl fmt::Display) -> ParallelError {
        ParallelError::Collective { rank, operation: self.to_string(), what: what.to_string() }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} #{} ({}, {} bytes)", self.operation, self.number, self.name, self.bytes)?;
        if self.place.is_empty() { Ok(()) } else { write!(f, " of {}", self.place) }
    }
}

#[cfg(test)]
mod tests {
    use super::Operation;

    #[test]
    fn every_operation_has_a_code_of_its_own() {
        for operation in Operation::ALL {
            assert_eq!(Operation::of_code(operation.code()), Some(operation));
        }
        assert_eq!(Operation::of_code(7), None);
    }
}
