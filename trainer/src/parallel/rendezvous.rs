//! Where ranks meet before a collective over MPI.
//!
//! MPI spins while it waits. If the communication thread went straight into a collective, it would take a core from
//! backward for as long as the slowest rank takes to come. So ranks first meet here: small messages in the pattern of a
//! dissemination barrier (Hensgen, Finkel and Manber 1988; ceil(log2 P) rounds), waited for by probing and sleeping.
//! The messages say which collective the sender is in, so that ranks that are out of step learn it instead of mixing
//! up their data, and a rank that waits too long calls the roll to say who is missing.

use std::rc::Rc;
use std::time::{Duration, Instant};

use mpi::topology::SimpleCommunicator;
use mpi::traits::*;

use super::ParallelError;
use super::comm_thread::{Call, failure};
use super::mpi::Control;

/// Round `k` of the barrier uses tag `k`.
const TAG_CALL: i32 = 1000;
const TAG_ANSWER: i32 = 1001;

/// Probes before the first sleep: a rank that comes at the same time is met without one.
const EAGER_PROBES: u32 = 200;
const SLEEP: Duration = Duration::from_micros(50);
/// How often a waiting rank looks at the clock and for roll calls.
const LOOK_AROUND: Duration = Duration::from_millis(50);
/// How long a roll call waits for answers. More than the interval at which idle threads look.
const ROLL_CALL: Duration = Duration::from_secs(2);

/// [number, operation, bytes, hash of the name]
type Token = [u64; 4];

/// What else the communication thread must look after while it waits for other ranks.
pub(super) trait Watch {
    /// Called a few times a second. An error ends the waiting.
    fn look(&self, rendezvous: &Rendezvous) -> Result<(), ParallelError>;
}

pub(super) struct Rendezvous {
    comm: SimpleCommunicator,
    rank: i32,
    size: i32,
    control: Control,
    pub watch: Option<Rc<dyn Watch>>,
    /// The last collective that this rank came to.
    last: u64,
}

impl Rendezvous {
    /// `comm` is used for nothing else.
    pub fn new(comm: SimpleCommunicator, control: Control) -> Self {
        let (rank, size) = (comm.rank(), comm.size());
        Self { comm, rank, size, control, watch: None, last: 0 }
    }

    /// Notes that this rank has come to a collective, for those who call the roll.
    pub fn pass(&mut self, call: &Call) {
        self.last = call.number;
    }

    /// Returns when every rank has come to this same collective, to which this one came at `since`.
    pub fn meet(&mut self, call: &Call, since: Instant) -> Result<(), ParallelError> {
        self.pass(call);
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
                    operation_name(theirs[1]),
                    theirs[0],
                    theirs[2]
                );
                return Err(failure(self.rank as usize, call, what));
            }
            distance *= 2;
            round += 1;
        }
        Ok(())
    }

    fn receive(&self, from: i32, tag: i32, call: &Call, since: Instant) -> Result<Token, ParallelError> {
        let source = self.comm.process_at_rank(from);
        let mut looked = Instant::now();
        for probes in 0_u32.. {
            if let Some((message, _)) = source.immediate_matched_probe_with_tag(tag) {
                let mut token = [0; 4];
                message.matched_receive_into(&mut token[..]);
                return Ok(token);
            }
            if probes < EAGER_PROBES {
                std::thread::yield_now();
                continue;
            }
            std::thread::sleep(SLEEP);
            if looked.elapsed() >= LOOK_AROUND {
                looked = Instant::now();
                self.look_around()?;
                self.be_patient(call, since)?;
            }
        }
        unreachable!("the loop above has no end")
    }

    /// Answers other ranks, and looks after what else is under way.
    pub fn look_around(&self) -> Result<(), ParallelError> {
        self.answer_roll_calls();
        self.watch.as_ref().map_or(Ok(()), |watch| watch.look(self))
    }

    /// Fails with the names of those who have not come, once a collective has taken too long. Until then it answers
    /// other ranks.
    pub fn be_patient(&self, call: &Call, since: Instant) -> Result<(), ParallelError> {
        self.answer_roll_calls();
        let waited = since.elapsed();
        if self.control.patience().is_none_or(|limit| waited < limit) {
            return Ok(());
        }
        Err(ParallelError::Hung {
            rank: self.rank as usize,
            operation: call.to_string(),
            seconds: waited.as_secs_f64(),
            who: self.call_the_roll(call.number),
        })
    }

    /// Tells the ranks that have asked where this one is.
    fn answer_roll_calls(&self) {
        while let Some((message, status)) = self.comm.any_process().immediate_matched_probe_with_tag(TAG_CALL) {
            let mut asked = [0_u64; 1];
            message.matched_receive_into(&mut asked[..]);
            self.comm.process_at_rank(status.source_rank()).send_with_tag(&[self.last][..], TAG_ANSWER);
        }
    }

    /// Who has not come to collective `number`, in words.
    fn call_the_roll(&self, number: u64) -> String {
        let others: Vec<i32> = (0..self.size).filter(|&r| r != self.rank).collect();
        for &rank in &others {
            self.comm.process_at_rank(rank).send_with_tag(&[number][..], TAG_CALL);
        }
        let mut answers = vec![None; self.size as usize];
        let until = Instant::now() + ROLL_CALL;
        while Instant::now() < until && others.iter().any(|&r| answers[r as usize].is_none()) {
            self.answer_roll_calls();
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

const OPERATIONS: [&str; 6] = ["all-reduce", "broadcast", "broadcast of bytes", "agreement", "barrier", "finish"];

fn operation_name(code: u64) -> &'static str {
    OPERATIONS.get(code as usize).copied().unwrap_or("an unknown operation")
}

fn token(call: &Call) -> Token {
    let code = OPERATIONS.iter().position(|&o| o == call.operation).unwrap_or(OPERATIONS.len());
    // FNV-1a: the same on every rank and build, unlike the standard library's hashers.
    let hash =
        call.name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    [call.number, code as u64, call.bytes as u64, hash]
}
