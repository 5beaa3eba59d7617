//! The meeting of ranks before a collective over MPI.
//!
//! MPI spins while it waits. If the communication thread went straight into a collective, it would take a core from
//! backward for as long as the slowest rank takes to come. So ranks first meet here: small messages in the pattern of a
//! dissemination barrier (Hensgen, Finkel and Manber 1988; ceil(log2 P) rounds), waited for by probing and sleeping.
//! The messages say which collective the sender is in, so that ranks that are out of step learn it instead of mixing
//! up their data. A rank that waits too long asks all others where they are, to say who is missing.

use std::hash::Hasher;
use std::rc::Rc;
use std::time::{Duration, Instant};

use fnv::FnvHasher;
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;

use crate::call::{Call, Operation};
use crate::error::ParallelError;
use crate::timeout::Timeout;

// Round `k` of the barrier uses tag `k`.
const TAG_QUESTION: i32 = 1000;
const TAG_ANSWER: i32 = 1001;

/// Probes before the first sleep: a rank that comes at the same time is met without one.
const EAGER_PROBES: u32 = 200;
const SLEEP: Duration = Duration::from_micros(50);
/// Interval at which a waiting rank looks at the clock and answers others.
pub(super) const POLL: Duration = Duration::from_millis(50);
/// Time that a rank waits for the answers of others: more than the interval at which idle threads poll.
const ANSWERS: Duration = Duration::from_secs(2);

/// [number, operation, bytes, hash of the name]
type Token = [u64; 4];

/// Other work that the communication thread must look after while it waits for other ranks.
pub(super) trait Watch {
    /// Called a few times a second. An error ends the waiting.
    fn poll(&self, rendezvous: &Rendezvous) -> Result<(), ParallelError>;
}

/// The place where ranks meet before each collective.
pub(super) struct Rendezvous {
    comm: SimpleCommunicator,
    rank: i32,
    size: i32,
    timeout: Timeout,
    pub watch: Option<Rc<dyn Watch>>,
    /// The last collective that this rank came to.
    last: u64,
}

impl Rendezvous {
    /// Makes one over `comm`, which is used for nothing else.
    pub fn new(comm: SimpleCommunicator, timeout: Timeout) -> Self {
        let (rank, size) = (comm.rank(), comm.size());
        Self { comm, rank, size, timeout, watch: None, last: 0 }
    }

    /// Notes that this rank has come to a collective, for those who ask.
    pub fn arrive(&mut self, call: &Call) {
        self.last = call.number;
    }

    /// Returns when every rank has come to this same collective, to which this one came at `since`.
    pub fn meet(&mut self, call: &Call, since: Instant) -> Result<(), ParallelError> {
        self.arrive(call);
        let mine = token(call);
        let (mut distance, mut round) = (1, 0);
        while distance < self.size {
            let to = (self.rank + distance) % self.size;
            let from = (self.rank - distance + self.size) % self.size;
            // 32 bytes are sent eagerly: this does not wait for the receiver.
            self.comm.process_at_rank(to).send_with_tag(&mine[..], round);
            let theirs = self.receive(from, round, call, since)?;
            if theirs != mine {
                let what = format!(
                    "rank {from} is in another collective: {} #{} of {} bytes. All ranks must call the same collectives \
                     in the same order",
                    Operation::of_code(theirs[1]).map_or("an unknown operation".into(), |o| o.to_string()),
                    theirs[0],
                    theirs[2]
                );
                return Err(call.failed(self.rank as usize, what));
            }
            distance *= 2;
            round += 1;
        }
        Ok(())
    }

    fn receive(&self, from: i32, tag: i32, call: &Call, since: Instant) -> Result<Token, ParallelError> {
        let source = self.comm.process_at_rank(from);
        let (mut probes, mut polled) = (0, Instant::now());
        loop {
            if let Some((message, _)) = source.immediate_matched_probe_with_tag(tag) {
                let mut token = [0; 4];
                message.matched_receive_into(&mut token[..]);
                return Ok(token);
            }
            if probes < EAGER_PROBES {
                probes += 1;
                std::thread::yield_now();
                continue;
            }
            std::thread::sleep(SLEEP);
            if polled.elapsed() >= POLL {
                polled = Instant::now();
                self.poll()?;
                self.check_timeout(call, since)?;
            }
        }
    }

    /// Answers other ranks, and looks after what else is under way.
    pub fn poll(&self) -> Result<(), ParallelError> {
        self.answer();
        self.watch.as_ref().map_or(Ok(()), |watch| watch.poll(self))
    }

    /// Fails with the names of those who have not come once a collective has taken too long. Until then it answers
    /// other ranks.
    pub fn check_timeout(&self, call: &Call, since: Instant) -> Result<(), ParallelError> {
        self.answer();
        let waited = since.elapsed();
        if self.timeout.get().is_none_or(|limit| waited < limit) {
            return Ok(());
        }
        Err(ParallelError::Hung {
            rank: self.rank as usize,
            operation: call.to_string(),
            seconds: waited.as_secs_f64(),
            who: self.missing_ranks(call.number),
        })
    }

    /// Tells the ranks that have asked where this one is.
    fn answer(&self) {
        while let Some((message, status)) = self.comm.any_process().immediate_matched_probe_with_tag(TAG_QUESTION) {
            let mut asked = [0_u64; 1];
            message.matched_receive_into(&mut asked[..]);
            self.comm.process_at_rank(status.source_rank()).send_with_tag(&[self.last][..], TAG_ANSWER);
        }
    }

    /// Returns who has not come to collective `number`, in words.
    fn missing_ranks(&self, number: u64) -> String {
        let others: Vec<i32> = (0..self.size).filter(|&r| r != self.rank).collect();
        for &rank in &others {
            self.comm.process_at_rank(rank).send_with_tag(&[number][..], TAG_QUESTION);
        }
        let mut answers = vec![None; self.size as usize];
        let until = Instant::now() + ANSWERS;
        while Instant::now() < until && others.iter().any(|&r| answers[r as usize].is_none()) {
            self.answer();
            while let Some((message, status)) = self.comm.any_process().immediate_matched_probe_with_tag(TAG_ANSWER) {
                let mut last = [0_u64; 1];
                message.matched_receive_into(&mut last[..]);
                answers[status.source_rank() as usize] = Some(last[0]);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let missing: Vec<String> = others
            .iter()
            .filter_map(|&r| match answers[r as usize] {
                None => Some(format!("rank {r} does not answer")),
                Some(last) if last < number => Some(format!("rank {r} has not come (its last collective is #{last})")),
                Some(_) => None,
            })
            .collect();
        if missing.is_empty() { "all ranks have come to it".into() } else { missing.join("; ") }
    }
}

fn token(call: &Call) -> Token {
    // FNV-1a is the same on every rank and build, unlike the standard library's hashers.
    let mut hash = FnvHasher::default();
    hash.write(call.name.as_bytes());
    [call.number, call.operation.code(), call.bytes as u64, hash.finish()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_the_same_in_every_build() {
        let call = Call {
            number: 7,
            operation: Operation::Barrier,
            name: "foobar".into(),
            bytes: 12,
            place: "anywhere".into(),
        };
        // The hash of "foobar" in the authors' own test vectors.
        assert_eq!(token(&call), [7, 4, 12, 0x8594_4171_f739_67e8]);
    }
}
