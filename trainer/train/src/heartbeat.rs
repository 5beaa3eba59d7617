//! Signs of life for the launcher: one JSON line per step on an inherited pipe.

use std::fs::File;
use std::io::Write;

use defusion_config::Stage;
use defusion_config::protocol::{ENV_HEARTBEAT_FD, Heartbeat, SafeCheckpoint};

/// Writes [`Heartbeat`] lines; does nothing if no launcher listens.
#[derive(Debug)]
pub struct HeartbeatWriter {
    pipe: Option<File>,
}

impl HeartbeatWriter {
    /// The pipe named by the environment, if it can be opened for writing.
    ///
    /// It is opened anew through `/proc/self/fd`, which needs no `unsafe` and leaves the inherited one alone.
    pub fn from_environment() -> Self {
        let pipe = std::env::var(ENV_HEARTBEAT_FD)
            .ok()
            .and_then(|fd| fd.parse::<u32>().ok())
            .and_then(|fd| File::options().write(true).open(format!("/proc/self/fd/{fd}")).ok());
        Self { pipe }
    }

    /// Says that `step` steps are finished and that `phase` goes on.
    pub fn beat(&mut self, phase: &str, step: u64) {
        self.write(&Heartbeat { phase: phase.to_owned(), step, checkpoint: None });
    }

    /// Says as well that a restart goes on from the checkpoint of `stage` after `saved` steps.
    pub fn safe(&mut self, phase: &str, step: u64, stage: Stage, saved: u64) {
        let checkpoint = Some(SafeCheckpoint { stage, step: saved });
        self.write(&Heartbeat { phase: phase.to_owned(), step, checkpoint });
    }

    fn write(&mut self, beat: &Heartbeat) {
        let Some(pipe) = &mut self.pipe else { return };
        let Ok(mut line) = serde_json::to_string(beat) else { return };
        line.push('\n');
        // A launcher that is gone takes its workers with it; a failed write here has nothing to add.
        if pipe.write_all(line.as_bytes()).is_err() {
            self.pipe = None;
        }
    }
}
