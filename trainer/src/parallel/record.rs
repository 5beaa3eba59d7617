//! Flight record: the last collectives of this rank, for the post-mortem of a hang or a crash.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Entries kept; some hundred steps of a network of ten buckets.
const KEPT: usize = 1024;

/// One collective.
#[derive(Clone, Debug)]
pub struct Entry {
    /// How many collectives this rank was given before it. Equal numbers meet on different ranks.
    pub number: u64,
    /// `all-reduce`, `broadcast`, ...
    pub operation: &'static str,
    /// What for, such as `unet bucket 3/12`.
    pub name: String,
    /// Payload in bytes.
    pub bytes: usize,
    /// When it was handed to the communication thread.
    pub queued: Instant,
    /// When the thread came to it.
    pub started: Option<Instant>,
    /// When it was over.
    pub ended: Option<Instant>,
    /// What went wrong, if something did.
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

    pub(crate) fn queued(&self, operation: &'static str, name: &str, bytes: usize) -> u64 {
        let mut ring = self.ring();
        let number = ring.next;
        ring.next += 1;
        if ring.entries.len() == KEPT {
            ring.entries.pop_front();
        }
        ring.entries.push_back(Entry {
            number,
            operation,
            name: name.to_owned(),
            bytes,
            queued: Instant::now(),
            started: None,
            ended: None,
            failed: None,
        });
        number
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

    /// The kept entries, oldest first.
    pub fn entries(&self) -> Vec<Entry> {
        self.ring().entries.iter().cloned().collect()
    }

    /// The oldest collective that has started and not ended, and for how long.
    pub fn in_flight(&self) -> Option<(Entry, Duration)> {
        let ring = self.ring();
        let entry = ring.entries.iter().find(|e| e.started.is_some() && e.ended.is_none())?;
        Some((entry.clone(), entry.started?.elapsed()))
    }

    /// The record as text, one line a collective, oldest first, times in milliseconds since the record began.
    pub fn dump(&self) -> String {
        let mut out =
            format!("flight record of rank {}: number, queued, started, ended (ms), bytes, collective\n", self.rank);
        let ms = |t: Option<Instant>| match t {
            Some(t) => format!("{:.3}", t.saturating_duration_since(self.born).as_secs_f64() * 1e3),
            None => "-".to_owned(),
        };
        for e in self.ring().entries.iter() {
            let failed = e.failed.as_ref().map(|f| format!(" FAILED: {f}")).unwrap_or_default();
            // Writing to a string cannot fail.
            let _ = writeln!(
                out,
                "{:>8} {:>14} {:>14} {:>14} {:>12} {} ({}){failed}",
                e.number,
                ms(Some(e.queued)),
                ms(e.started),
                ms(e.ended),
                e.bytes,
                e.operation,
                e.name
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
            let n = record.queued("all-reduce", &format!("bucket {i}"), 4 * i);
            record.started(n);
            if i != KEPT {
                record.ended(n, None);
            }
        }
        let entries = record.entries();
        assert_eq!((entries.len(), entries[0].number), (KEPT, 5));
        assert_eq!(record.in_flight().unwrap().0.name, format!("bucket {KEPT}"));
        let text = record.dump();
        assert!(text.contains("rank 3") && text.contains("all-reduce (bucket 1028)"), "{text}");
        assert_eq!(text.lines().count(), KEPT + 1);
    }
}
