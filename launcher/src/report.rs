//! Carries what ranks report to the job: lines of JSON within mpirun's standard error, which reaches the job from any host.
//!
//! A line starts with the byte 0x1e (record separator), which no log line holds, and is taken out of the stream before
//! the rest is shown. Ranks write them only if [`ENV_REPORT`] says that somebody takes them out.

use std::io::Write;
use std::time::{Duration, Instant};

use defusion_config::protocol::SafeCheckpoint;
use serde::{Deserialize, Serialize};

use crate::heartbeat::Watch;

/// Environment of a rank: set if its reports are wanted.
pub const ENV_REPORT: &str = "DEFUSION_REPORT";

const START: u8 = 0x1e;
/// Longer than any report; a start byte in other output must not make the rest of it vanish.
const LONGEST: usize = 16 * 1024;
/// Steps are reported no more often than this; changes of phase and safe checkpoints always are.
const EVERY: Duration = Duration::from_secs(2);

/// One report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The rank that reports.
    pub rank: u32,
    /// Host of the rank.
    pub host: String,
    /// What it reports.
    pub news: News,
}

/// What a rank reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum News {
    /// Its worker is alive.
    Beat {
        /// The stage it is in, once it has reached one.
        stage: Option<String>,
        /// Phase in the worker's heartbeat.
        phase: String,
        /// Step in the worker's heartbeat.
        step: u64,
        /// Checkpoint that the worker's heartbeat says is safe.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        checkpoint: Option<SafeCheckpoint>,
    },
    /// Its worker ended.
    Ended {
        /// Exit code: one of `defusion_config::protocol`.
        code: i32,
        /// What happened; empty if there is nothing to say.
        message: String,
        /// Whether it had been asked to stop before.
        asked: bool,
    },
}

/// The rank's side: writes reports, if they are wanted.
#[derive(Debug)]
pub struct Reporter {
    rank: u32,
    host: String,
    wanted: bool,
    phase: String,
    next: Instant,
}

impl Reporter {
    /// Makes the reporter of rank `rank` on this host.
    pub fn new(rank: u32, host: String) -> Self {
        let wanted = std::env::var_os(ENV_REPORT).is_some();
        Self { rank, host, wanted, phase: String::new(), next: Instant::now() }
    }

    /// Whether a job takes the reports. Otherwise this rank is on its own and has to say things itself.
    pub fn is_heard(&self) -> bool {
        self.wanted
    }

    /// Reports that the worker is alive.
    pub fn beat(&mut self, watch: &Watch) {
        let (beat, now) = (watch.last(), Instant::now());
        if beat.phase == self.phase && beat.checkpoint.is_none() && now < self.next {
            return;
        }
        self.phase.clone_from(&beat.phase);
        self.next = now + EVERY;
        self.send(News::Beat {
            stage: watch.stage().map(str::to_owned),
            phase: beat.phase.clone(),
            step: beat.step,
            checkpoint: beat.checkpoint,
        });
    }

    /// Reports how the worker ended.
    pub fn ended(&self, code: i32, message: &str, asked: bool) {
        self.send(News::Ended { code, message: message.to_owned(), asked });
    }

    fn send(&self, news: News) {
        if !self.wanted {
            return;
        }
        let report = Report { rank: self.rank, host: self.host.clone(), news };
        if let Ok(json) = serde_json::to_string(&report) {
            // One write, so that mpirun does not put another rank's output in its middle.
            let _ = std::io::stderr().write_all(format!("{}{json}\n", char::from(START)).as_bytes());
        }
    }
}

/// The job's side: takes reports out of a stream of bytes.
#[derive(Debug, Default)]
pub struct Filter {
    /// A report whose end has not come yet.
    pending: Option<Vec<u8>>,
}

impl Filter {
    /// Takes the next bytes: adds what is to be shown to `show` and returns the reports that are complete.
    pub fn push(&mut self, bytes: &[u8], show: &mut Vec<u8>) -> Vec<Report> {
        let mut reports = Vec::new();
        for byte in bytes {
            match &mut self.pending {
                None if *byte == START => self.pending = Some(Vec::new()),
                None => show.push(*byte),
                Some(line) if *byte == b'\n' => {
                    match serde_json::from_slice(line) {
                        Ok(report) => reports.push(report),
                        Err(_) => {
                            show.append(line);
                            show.push(b'\n');
                        }
                    }
                    self.pending = None;
                }
                Some(line) => {
                    line.push(*byte);
                    if line.len() > LONGEST {
                        show.append(line);
                        self.pending = None;
                    }
                }
            }
        }
        reports
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(step: u64) -> Report {
        let news = News::Beat { stage: Some("diffusion".into()), phase: "diffusion".into(), step, checkpoint: None };
        Report { rank: 1, host: "h".into(), news }
    }

    fn line(report: &Report) -> Vec<u8> {
        [&[START][..], serde_json::to_string(report).unwrap().as_bytes(), b"\n"].concat()
    }

    #[test]
    fn reports_are_taken_out_wherever_the_stream_is_cut() {
        let stream = [b"a progress bar\r".to_vec(), line(&report(1)), b"text\n".to_vec(), line(&report(2))].concat();
        for size in 1..stream.len() {
            let (mut filter, mut show, mut reports) = (Filter::default(), Vec::new(), Vec::new());
            for piece in stream.chunks(size) {
                reports.extend(filter.push(piece, &mut show));
            }
            assert_eq!(String::from_utf8(show).unwrap(), "a progress bar\rtext\n");
            assert_eq!(reports, [report(1), report(2)]);
        }
    }

    #[test]
    fn what_is_no_report_is_shown() {
        let (mut filter, mut show) = (Filter::default(), Vec::new());
        assert_eq!(filter.push(b"\x1enot json\nmore\n", &mut show), []);
        assert_eq!(show, b"not json\nmore\n");
        show.clear();
        filter.push(&[&[START][..], &vec![b'x'; LONGEST + 5]].concat(), &mut show);
        assert_eq!(show.len(), LONGEST + 5);
    }
}
