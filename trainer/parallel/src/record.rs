//! The flight record: the last collectives of this rank, for the post-mortem of a hang or a crash.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::call::{Call, Operation};
use crate::error::ParallelError;

/// Entries that are kept: some hundred steps of a network of ten buckets.
const KEPT: usize = 1024;
/// Entries that are written after a failure: some steps, so that the ranks of a large job do not drown its message.
const AFTER_FAILURE: usize = 32;

/// One collective.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Number of collectives that this rank was given before it. Equal numbers meet on different ranks.
    pub number: u64,
    /// Kind of collective.
    pub operation: Operation,
    /// Purpose, such as `unet bucket 3/12`.
    pub name: String,
    /// Payload in bytes.
    pub bytes: usize,
    /// Place of the run, as [`FlightRecord::enter`] was told.
    pub place: String,
    /// When it was handed to the communication thread.
    pub queued: Instant,
    /// When the thread came to it.
    pub started: Option<Instant>,
    /// When it was over. On CUDA: when that was noticed, up to a quarter of a second later.
    pub ended: Option<Instant>,
    /// Text of the error, if it failed.
    pub failed: Option<String>,
}

/// The last collectives of this rank. Clones share one ring buffer.
#[derive(Clone, Debug)]
pub struct FlightRecord {
    rank: usize,
    born: Instant,
    ring: Arc<Mutex<Ring>>,
}

#[derive(Debug, Default)]
struct Ring {
    next: u64,
    place: String,
    entries: VecDeque<Entry>,
}

impl FlightRecord {
    pub(crate) fn new(rank: usize) -> Self {
        Self { rank, born: Instant::now(), ring: Arc::default() }
    }

    // A panic elsewhere must not keep the record from being read.
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn rank(&self) -> usize {
        self.rank
    }

    /// Notes where the run is from now on, such as `diffusion, after 12 steps`; errors and entries name it.
    pub fn enter(&self, place: &str) {
        self.ring().place = place.to_owned();
    }

    /// Notes a collective that is handed over, and gives it its number.
    pub(crate) fn queued(&self, operation: Operation, name: &str, bytes: usize) -> Call {
        let mut ring = self.ring();
        let (number, place) = (ring.next, ring.place.clone());
        ring.next += 1;
        if ring.entries.len() == KEPT {
            ring.entries.pop_front();
        }
        ring.entries.push_back(Entry {
            number,
            operation,
            name: name.to_owned(),
            bytes,
            place: place.clone(),
            queued: Instant::now(),
            started: None,
            ended: None,
            failed: None,
        });
        Call { number, operation, name: name.to_owned(), bytes, place }
    }

    pub(crate) fn started(&self, number: u64) -> Instant {
        let now = Instant::now();
        self.change(number, |e| e.started = Some(now));
        now
    }

    pub(crate) fn ended(&self, number: u64, failed: Option<String>) -> Instant {
        let now = Instant::now();
        self.change(number, |e| {
            e.ended = Some(now);
            e.failed = failed;
        });
        now
    }

    fn change(&self, number: u64, f: impl FnOnce(&mut Entry)) {
        if let Some(e) = self.ring().entries.iter_mut().rev().find(|e| e.number == number) {
            f(e);
        }
    }

    /// Returns the kept entries, oldest first.
    pub fn entries(&self) -> Vec<Entry> {
        self.ring().entries.iter().cloned().collect()
    }

    /// Returns the oldest collective that has started and not ended, and how long ago it started.
    pub fn in_flight(&self) -> Option<(Entry, Duration)> {
        let ring = self.ring();
        let entry = ring.entries.iter().find(|e| e.started.is_some() && e.ended.is_none())?;
        Some((entry.clone(), entry.started?.elapsed()))
    }

    /// Returns the record as text: one line per collective, oldest first, times in milliseconds since the record began.
    pub fn dump(&self) -> String {
        self.text(KEPT)
    }

    /// Writes the last collectives to standard error: the post-mortem of a failure.
    pub(crate) fn dump_failure(&self, error: &ParallelError) {
        let text = format!("{error}\n{}", self.text(AFTER_FAILURE));
        // Standard error may be closed; there is nowhere else to say it.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }

    /// Lets SIGUSR1 make this process write its whole record to standard error, whatever its threads wait for, and go
    /// on.
    ///
    /// # Errors
    /// [`ParallelError::Signals`] or [`ParallelError::Thread`]: the handler or its thread cannot be installed.
    pub fn dump_on_sigusr1(&self) -> Result<(), ParallelError> {
        let mut signals = signal_hook::iterator::Signals::new([signal_hook::consts::SIGUSR1])
            .map_err(|e| ParallelError::Signals(format!("SIGUSR1 cannot be handled: {e}")))?;
        let record = self.clone();
        std::thread::Builder::new()
            .name("flight record".into())
            .spawn(move || {
                for _ in signals.forever() {
                    let _ = std::io::stderr().write_all(record.dump().as_bytes());
                }
            })
            .map_err(|e| ParallelError::Thread(format!("none to write the flight record: {e}")))?;
        Ok(())
    }

    fn text(&self, last: usize) -> String {
        let mut out =
            format!("flight record of rank {}: number, queued, started, ended (ms), bytes, collective\n", self.rank);
        let ms = |t: Option<Instant>| match t {
            Some(t) => format!("{:.3}", t.saturating_duration_since(self.born).as_secs_f64() * 1e3),
            None => "-".to_owned(),
        };
        let ring = self.ring();
        for e in ring.entries.iter().skip(ring.entries.len().saturating_sub(last)) {
            let failed = e.failed.as_ref().map(|f| format!(" FAILED: {f}")).unwrap_or_default();
            // Writing to a string cannot fail.
            let _ = writeln!(
                out,
                "{:>8} {:>14} {:>14} {:>14} {:>12} {} ({}) {}{failed}",
                e.number,
                ms(Some(e.queued)),
                ms(e.started),
                ms(e.ended),
                e.bytes,
                e.operation,
                e.name,
                e.place
            );
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_newest_and_names_what_is_under_way() {
        let record = FlightRecord::new(3);
        for i in 0..KEPT + 5 {
            record.enter(&format!("after {i} steps"));
            let n = record.queued(Operation::AllReduce, &format!("bucket {i}"), 4 * i).number;
            record.started(n);
            if i != KEPT {
                record.ended(n, None);
            }
        }
        let entries = record.entries();
        assert_eq!((entries.len(), entries[0].number), (KEPT, 5));
        assert_eq!(record.in_flight().unwrap().0.name, format!("bucket {KEPT}"));
        let text = record.dump();
        assert!(text.contains("rank 3") && text.contains("all-reduce (bucket 1028) after 1028 steps"), "{text}");
        assert_eq!(text.lines().count(), KEPT + 1);
    }
}
