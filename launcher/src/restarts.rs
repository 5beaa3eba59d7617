//! Decides whether to start again after a failure, and when.

use std::time::Duration;

use defusion_config::Cluster;
use defusion_config::protocol::SafeCheckpoint;

use crate::error::is_worth_a_restart;

/// The longest pause before a restart.
const LONGEST: Duration = Duration::from_secs(600);

/// Counts restarts since the run last got further.
///
/// "Further" is a checkpoint beyond all before. A step beyond is not: without a checkpoint it would be done again after
/// each restart, and a run that fails between two checkpoints would be restarted for ever.
#[derive(Clone, Debug)]
pub struct Restarts {
    allowed: u32,
    backoff: f64,
    used: u32,
    best: Option<SafeCheckpoint>,
}

/// What to do after an attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Start again after a pause.
    Again {
        /// Length of the pause.
        after: Duration,
        /// Which restart it is since the run last got further, from 1.
        number: u32,
    },
    /// Stop; holds the reason.
    GiveUp(String),
}

impl Restarts {
    /// Starts to count, with the limits of the config.
    pub fn new(cluster: &Cluster) -> Self {
        Self { allowed: cluster.max_restarts, backoff: cluster.restart_backoff_s, used: 0, best: None }
    }

    /// Returns how many restarts are allowed.
    pub fn allowed(&self) -> u32 {
        self.allowed
    }

    /// Decides after an attempt that ended with `code`; `checkpoint` is the furthest that it said is safe.
    pub fn after(&mut self, code: i32, checkpoint: Option<SafeCheckpoint>) -> Decision {
        if !is_worth_a_restart(code) {
            return Decision::GiveUp("a restart would end alike".into());
        }
        if checkpoint > self.best {
            self.best = checkpoint;
            self.used = 0;
        }
        if self.used == self.allowed {
            return Decision::GiveUp(match self.allowed {
                0 => "cluster.max_restarts is 0".into(),
                n => format!("{n} restarts in a row brought no further checkpoint"),
            });
        }
        let after = Duration::try_from_secs_f64(self.backoff * 2f64.powi(self.used.min(30) as i32));
        self.used += 1;
        Decision::Again { after: after.unwrap_or(LONGEST).min(LONGEST), number: self.used }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use defusion_config::Stage;
    use defusion_config::protocol::{EXIT_DIVERGED, EXIT_FAILED, EXIT_HUNG, EXIT_USAGE};

    fn restarts(max_restarts: u32) -> Restarts {
        Restarts::new(&Cluster { max_restarts, restart_backoff_s: 5.0, ..Cluster::default() })
    }

    fn pause(decision: Decision) -> Option<u64> {
        match decision {
            Decision::Again { after, .. } => Some(after.as_secs()),
            Decision::GiveUp(_) => None,
        }
    }

    #[test]
    fn pauses_double_up_to_ten_minutes_and_end() {
        let mut restarts = restarts(9);
        let pauses: Vec<_> = (0..10).map(|_| pause(restarts.after(EXIT_FAILED, None))).collect();
        let expected = [5, 10, 20, 40, 80, 160, 320, 600, 600].map(Some).into_iter().chain([None]);
        assert_eq!(pauses, expected.collect::<Vec<_>>());
    }

    #[test]
    fn a_further_checkpoint_makes_the_count_new_but_the_same_one_does_not() {
        let mut restarts = restarts(1);
        let at = |stage, step| Some(SafeCheckpoint { stage, step });
        assert_eq!(pause(restarts.after(EXIT_FAILED, at(Stage::Tokenizer, 100))), Some(5));
        assert_eq!(pause(restarts.after(EXIT_HUNG, at(Stage::Diffusion, 50))), Some(5));
        assert_eq!(pause(restarts.after(EXIT_FAILED, at(Stage::Diffusion, 50))), None);
    }

    #[test]
    fn what_would_fail_alike_is_not_tried_again() {
        for code in [EXIT_USAGE, EXIT_DIVERGED] {
            assert_eq!(pause(restarts(5).after(code, None)), None);
        }
    }
}
