//! Tells a slow worker from one that hangs.

use std::time::{Duration, Instant};

use defusion_config::Cluster;
use defusion_config::protocol::Heartbeat;

/// Decides how long a worker may be silent, by what it has reported so far.
#[derive(Clone, Debug)]
pub struct Watch {
    usual: Duration,
    first_step: Duration,
    heard: Instant,
    last: Heartbeat,
    /// Stage and step at which the worker entered it.
    entered: Option<(String, u64)>,
    /// Whether a whole step of this stage has been seen.
    stepping: bool,
}

impl Watch {
    /// Begins to watch a worker that was started at `now`.
    pub fn new(cluster: &Cluster, now: Instant) -> Self {
        Self {
            usual: Duration::from_secs(cluster.hang_timeout_s),
            first_step: Duration::from_secs(cluster.first_step_timeout_s),
            heard: now,
            last: Heartbeat { phase: "starting".into(), step: 0, checkpoint: None },
            entered: None,
            stepping: false,
        }
    }

    /// Takes note of a heartbeat.
    pub fn beat(&mut self, beat: Heartbeat, now: Instant) {
        self.heard = now;
        if is_stage(&beat.phase) {
            match &self.entered {
                Some((stage, step)) if *stage == beat.phase => self.stepping |= beat.step > *step,
                // A new stage has its own first step: other networks, cold caches.
                _ => {
                    self.entered = Some((beat.phase.clone(), beat.step));
                    self.stepping = false;
                }
            }
        }
        self.last = beat;
    }

    /// Returns how long the worker may be silent at present.
    pub fn timeout(&self) -> Duration {
        if self.stepping { self.usual } else { self.first_step }
    }

    /// Returns when the worker counts as hung, unless it is heard before.
    pub fn deadline(&self) -> Instant {
        self.heard + self.timeout()
    }

    /// Returns the newest heartbeat.
    pub fn last(&self) -> &Heartbeat {
        &self.last
    }

    /// Returns the stage that the worker is in, if it has reached one.
    pub fn stage(&self) -> Option<&str> {
        self.entered.as_ref().map(|(stage, _)| stage.as_str())
    }

    /// Says where the worker was last seen.
    pub fn place(&self) -> String {
        match self.stage() {
            Some(stage) if stage != self.last.phase => {
                format!("phase {} of {stage}, step {}", self.last.phase, self.last.step)
            }
            _ => format!("phase {}, step {}", self.last.phase, self.last.step),
        }
    }
}

/// Whether a phase is one of the two training stages.
pub fn is_stage(phase: &str) -> bool {
    stage_order(phase).is_some()
}

/// Returns the position of a stage in the run.
pub fn stage_order(phase: &str) -> Option<u8> {
    use defusion_config::Stage;
    [Stage::Tokenizer, Stage::Diffusion].iter().position(|stage| stage.name() == phase).map(|i| i as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds_allowed(beats: &[(&str, u64)]) -> u64 {
        let cluster = Cluster { hang_timeout_s: 10, first_step_timeout_s: 100, ..Cluster::default() };
        let start = Instant::now();
        let mut watch = Watch::new(&cluster, start);
        for (phase, step) in beats {
            watch.beat(Heartbeat { phase: (*phase).into(), step: *step, checkpoint: None }, start);
        }
        (watch.deadline() - start).as_secs()
    }

    #[test]
    fn until_the_first_step_of_a_stage_has_ended_more_time_is_given() {
        assert_eq!(seconds_allowed(&[]), 100);
        assert_eq!(seconds_allowed(&[("starting", 0), ("tokenizer", 0)]), 100);
        assert_eq!(seconds_allowed(&[("tokenizer", 0), ("tokenizer", 1)]), 10);
        assert_eq!(seconds_allowed(&[("tokenizer", 7)]), 100, "resumed at step 7");
        assert_eq!(seconds_allowed(&[("tokenizer", 7), ("tokenizer", 8), ("checkpoint", 8)]), 10);
        assert_eq!(seconds_allowed(&[("tokenizer", 0), ("tokenizer", 1), ("diffusion", 0)]), 100);
        assert_eq!(seconds_allowed(&[("diffusion", 0), ("diffusion", 1), ("validating", 1), ("diffusion", 1)]), 10);
    }

    #[test]
    fn a_beat_moves_the_deadline() {
        let start = Instant::now();
        let mut watch = Watch::new(&Cluster::default(), start);
        let later = start + Duration::from_secs(50);
        watch.beat(Heartbeat { phase: "diffusion".into(), step: 3, checkpoint: None }, later);
        assert_eq!(watch.deadline(), later + watch.timeout());
        assert_eq!(watch.place(), "phase diffusion, step 3");
        watch.beat(Heartbeat { phase: "checkpoint".into(), step: 3, checkpoint: None }, later);
        assert_eq!(watch.place(), "phase checkpoint of diffusion, step 3");
    }
}
