//! How often and at which pauses a failed operation is tried again.

use std::fmt::Display;
use std::time::{Duration, Instant};

use crate::runtime;

/// A policy for trying a failed operation again, over and above the retries of the HTTP client itself. The pause doubles from
/// `first` up to `longest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Tries in all, at least 1.
    pub tries: u32,
    /// Pause before the second try.
    pub first: Duration,
    /// Longest pause.
    pub longest: Duration,
    /// No further try begins later than this after the first one began.
    pub within: Duration,
}

impl Default for Retry {
    /// For what must not be lost, such as a checkpoint: six tries, pauses from 1 to 30 seconds, within an hour.
    fn default() -> Self {
        Self {
            tries: 6,
            first: Duration::from_secs(1),
            longest: Duration::from_secs(30),
            within: Duration::from_secs(3600),
        }
    }
}

impl Retry {
    /// One try.
    pub const NONE: Self = Self { tries: 1, first: Duration::ZERO, longest: Duration::ZERO, within: Duration::ZERO };

    /// For what somebody waits for: three tries, pauses of 0.2 and 0.4 seconds. What has failed for a minute, in which
    /// the HTTP client has tried several times, is not tried again.
    pub const QUICK: Self = Self {
        tries: 3,
        first: Duration::from_millis(200),
        longest: Duration::from_secs(2),
        within: Duration::from_secs(60),
    };

    /// Runs `operation` until it succeeds, fails with an error that is not transient, or the tries are used up. Blocks in
    /// the pauses.
    ///
    /// # Errors
    /// The last error.
    pub fn run<T, E: Display>(
        &self,
        is_transient: impl Fn(&E) -> bool,
        mut operation: impl FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        let start = Instant::now();
        let (mut tried, mut pause) = (1, self.first);
        loop {
            match operation() {
                Err(error) if tried < self.tries && is_transient(&error) && start.elapsed() < self.within => {
                    tracing::warn!("{error}; trying again in {pause:?} ({tried} of {} tries)", self.tries);
                    runtime::blocking(|| std::thread::sleep(pause));
                    pause = (pause * 2).min(self.longest);
                    tried += 1;
                }
                done => return done,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tries(retry: Retry, is_transient: bool) -> u32 {
        let mut tries = 0;
        let error = retry.run(
            |_| is_transient,
            || {
                tries += 1;
                Err::<(), _>(format!("try {tries}"))
            },
        );
        assert_eq!(error.unwrap_err(), format!("try {tries}"));
        tries
    }

    #[test]
    fn only_what_is_transient_is_tried_again() {
        let retry = Retry { tries: 4, first: Duration::from_millis(1), ..Retry::default() };
        assert_eq!((tries(retry, true), tries(retry, false)), (4, 1));
        assert_eq!((tries(Retry::NONE, true), tries(Retry { tries: 0, ..retry }, true)), (1, 1));
        assert_eq!(retry.run(|_: &String| true, || Ok(7)), Ok(7));
    }

    #[test]
    fn no_try_begins_too_late() {
        let retry = Retry { tries: 4, first: Duration::from_millis(1), ..Retry::default() };
        assert_eq!(tries(Retry { within: Duration::ZERO, ..retry }, true), 1);
        assert_eq!(tries(Retry { within: Duration::from_secs(3600), ..retry }, true), 4);
    }
}
