//! One run of mpirun: what its ranks report, and how it ends.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use defusion_config::Cluster;
use defusion_config::protocol::{EXIT_DONE, EXIT_FAILED, EXIT_HUNG, Heartbeat, SafeCheckpoint};
use nix::sys::signal::Signal;

use crate::error::LaunchError;
use crate::heartbeat::{Watch, stage_order};
use crate::logs::say;
use crate::report::{News, Report};
use crate::supervise::{Event, signal};

/// Time that ranks have to end and to say why, before mpirun is ended over their heads.
const MARGIN: Duration = Duration::from_secs(30);
/// Time between asking mpirun to end and making it.
const MPIRUN_GRACE: Duration = Duration::from_secs(10);

/// A point of the run: stage (in order) and step.
pub type Position = (u8, u64);

/// What is known of one run of mpirun.
pub struct Attempt {
    watch: Watch,
    /// Each rank's newest stage, phase and step, and its host.
    pub beats: BTreeMap<u32, (String, Position)>,
    /// Exit code of the first failure that was not the answer to a request to stop.
    pub failure: Option<i32>,
    /// Furthest checkpoint that a rank said is safe.
    pub checkpoint: Option<SafeCheckpoint>,
    /// Number of requests to stop.
    pub stop_requests: u32,
    /// Whether mpirun had to be ended because no rank was heard.
    silent: bool,
}

impl Attempt {
    /// Starts with nothing known.
    pub fn new(cluster: &Cluster) -> Self {
        Self {
            watch: Watch::new(cluster, Instant::now()),
            beats: BTreeMap::new(),
            failure: None,
            checkpoint: None,
            stop_requests: 0,
            silent: false,
        }
    }

    /// Takes note of a rank's report.
    pub fn take(&mut self, report: Report) {
        match report.news {
            News::Beat { stage, phase, step, checkpoint } => {
                self.checkpoint = self.checkpoint.max(checkpoint);
                if let Some(stage) = stage.as_deref().and_then(stage_order) {
                    self.beats.insert(report.rank, (report.host, (stage, step)));
                } else {
                    self.beats.entry(report.rank).or_insert((report.host, (0, 0)));
                }
                self.watch.beat(Heartbeat { phase, step, checkpoint }, Instant::now());
            }
            News::Ended { code, message, asked } => {
                if code != EXIT_DONE && !asked && self.failure.is_none() {
                    say(&message);
                    self.failure = Some(code);
                }
            }
        }
    }

    /// Watches mpirun to its end. Returns its exit code, or `None` if a signal ended it.
    ///
    /// # Errors
    /// [`LaunchError::Io`] if the process cannot be waited for.
    pub fn watch(
        &mut self,
        child: &mut Child,
        events: &Receiver<Event>,
        grace: Duration,
    ) -> Result<Option<i32>, LaunchError> {
        const TICK: Duration = Duration::from_millis(250);
        let mut end_by: Option<Instant> = None;
        let mut kill_by: Option<Instant> = None;
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return Ok(status.code()),
                Ok(None) => {}
                Err(e) => return Err(LaunchError::io("watch", Path::new("mpirun"), e)),
            }
            let now = Instant::now();
            if !self.silent && now >= self.watch.deadline() + MARGIN {
                let silence = self.watch.timeout() + MARGIN;
                say(&format!("no rank was heard for {} s ({}): ending mpirun", silence.as_secs(), self.watch.place()));
                self.silent = true;
                end_by = Some(now);
            }
            if kill_by.is_some_and(|by| now >= by) {
                say("mpirun does not end: killing it");
                signal(child, Signal::SIGKILL);
                kill_by = Some(now + MPIRUN_GRACE);
            } else if kill_by.is_none() && end_by.is_some_and(|by| now >= by) {
                signal(child, Signal::SIGTERM);
                kill_by = Some(now + MPIRUN_GRACE);
            }
            match events.recv_timeout(TICK) {
                Ok(Event::Report(report)) => self.take(report),
                Ok(Event::Stop(by)) => {
                    self.stop_requests += 1;
                    if self.stop_requests == 1 {
                        say(&format!("{}: stopping after a checkpoint (once more: at once)", by.as_str()));
                        // Not SIGTERM: on that, mpirun kills its ranks a second later. This one it passes on.
                        signal(child, Signal::SIGUSR1);
                        end_by = Some(Instant::now() + grace + MARGIN);
                    } else {
                        end_by = Some(Instant::now());
                    }
                }
                Ok(Event::Child | Event::Beat(_)) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(TICK),
            }
        }
    }

    /// Returns the exit code, from what ranks reported or else from mpirun's own, and what is left to say about it.
    pub fn conclusion(&self, mpirun: Option<i32>) -> (i32, Option<String>) {
        match (self.failure, mpirun) {
            (Some(EXIT_HUNG), _) => (EXIT_HUNG, self.furthest_behind()),
            (Some(code), _) => (code, None),
            _ if self.silent => (EXIT_HUNG, None),
            (None, Some(EXIT_DONE)) => (EXIT_DONE, None),
            (None, Some(code)) => (EXIT_FAILED, Some(format!("mpirun ended with exit code {code}"))),
            (None, None) => (EXIT_FAILED, Some("mpirun was killed".into())),
        }
    }

    /// Names the ranks that others wait for: those whose last step lies behind that of the rest.
    fn furthest_behind(&self) -> Option<String> {
        let least = self.beats.values().map(|(_, position)| *position).min()?;
        let most = self.beats.values().map(|(_, position)| *position).max()?;
        let behind = self.beats.iter().filter(|(_, (_, position))| *position == least);
        let names: Vec<String> =
            behind.map(|(rank, (host, (_, step)))| format!("rank {rank} on {host} (step {step})")).collect();
        (least < most).then(|| format!("furthest behind: {}", names.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use defusion_config::Stage;

    fn report(rank: u32, news: News) -> Report {
        Report { rank, host: format!("h{rank}"), news }
    }

    fn beat(stage: &str, step: u64) -> News {
        News::Beat { stage: Some(stage.into()), phase: stage.into(), step, checkpoint: None }
    }

    fn attempt(reports: Vec<Report>) -> Attempt {
        let mut attempt = Attempt::new(&Cluster::default());
        reports.into_iter().for_each(|report| attempt.take(report));
        attempt
    }

    #[test]
    fn the_first_failure_that_nobody_asked_for_decides() {
        let ended = |code, asked| News::Ended { code, message: format!("code {code}"), asked };
        let attempt = attempt(vec![report(2, ended(1, true)), report(1, ended(4, false)), report(0, ended(1, false))]);
        assert_eq!(attempt.conclusion(Some(1)), (4, None));
    }

    #[test]
    fn without_reports_mpiruns_own_code_counts() {
        assert_eq!(attempt(vec![]).conclusion(Some(0)).0, EXIT_DONE);
        assert_eq!(attempt(vec![]).conclusion(Some(213)).0, EXIT_FAILED);
        assert_eq!(attempt(vec![]).conclusion(None).0, EXIT_FAILED);
    }

    #[test]
    fn a_hang_names_the_ranks_behind() {
        let hung = News::Ended { code: EXIT_HUNG, message: "hung".into(), asked: false };
        let attempt = attempt(vec![
            report(0, beat("diffusion", 9)),
            report(1, beat("tokenizer", 70)),
            report(2, beat("diffusion", 8)),
            report(0, hung),
        ]);
        assert_eq!(attempt.conclusion(Some(3)), (EXIT_HUNG, Some("furthest behind: rank 1 on h1 (step 70)".into())));
    }

    #[test]
    fn of_all_safe_checkpoints_the_furthest_counts_in_order_of_stages() {
        let safe = |stage, step| {
            let (phase, checkpoint) = ("checkpoint".into(), Some(SafeCheckpoint { stage, step }));
            News::Beat { stage: None, phase, step: 0, checkpoint }
        };
        let attempt = attempt(vec![
            report(0, safe(Stage::Tokenizer, 100)),
            report(0, safe(Stage::Diffusion, 5)),
            report(1, beat("diffusion", 7)),
            report(0, safe(Stage::Tokenizer, 200)),
        ]);
        assert_eq!(attempt.checkpoint, Some(SafeCheckpoint { stage: Stage::Diffusion, step: 5 }));
    }
}
