//! Watches one worker until it ends.

use std::io::{BufRead, BufReader};
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use defusion_config::protocol::{EXIT_DONE, EXIT_FAILED, EXIT_HUNG, EXIT_USAGE, Heartbeat};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, getppid};
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::child::EXIT_NOT_STARTED;
use crate::error::LaunchError;
use crate::heartbeat::Watch;

/// What wakes a supervisor.
#[derive(Debug)]
pub enum Event {
    /// This process received a signal that asks it to stop.
    Stop(Signal),
    /// A child changed its state.
    Child,
    /// A worker sent a heartbeat.
    Beat(Heartbeat),
    /// A rank sent a report.
    Report(crate::report::Report),
}

/// Sends the signals that this process gets from now on as events: SIGTERM, SIGINT, and SIGUSR1 and SIGUSR2, which Slurm
/// sends before a time limit or a pre-emption, and which mpirun passes on to its ranks without ending them itself.
///
/// # Errors
/// [`LaunchError::Usage`] if the handlers cannot be installed.
pub fn signals(to: Sender<Event>) -> Result<(), LaunchError> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1, SIGUSR2, SIGCHLD])
        .map_err(|e| LaunchError::usage(format!("cannot handle signals: {e}")))?;
    std::thread::spawn(move || {
        for number in signals.forever() {
            let event = match Signal::try_from(number) {
                Ok(Signal::SIGCHLD) | Err(_) => Event::Child,
                Ok(signal) => Event::Stop(signal),
            };
            if to.send(event).is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// Sends a worker's heartbeats as events until its end of the pipe is closed.
pub fn heartbeats(from: std::io::PipeReader, to: Sender<Event>) {
    std::thread::spawn(move || {
        let mut told = false;
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(beat) => {
                    if to.send(Event::Beat(beat)).is_err() {
                        return;
                    }
                }
                Err(e) if !told => {
                    crate::logs::say(&format!("heartbeat `{line}` is not understood: {e}"));
                    told = true;
                }
                Err(_) => {}
            }
        }
    });
}

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It exited by itself.
    Exited(i32),
    /// Somebody else's signal ended it.
    Killed(Signal),
    /// It was silent for this long and has been killed.
    Hung(Duration),
    /// It was asked to stop, did not within the grace given, and has been killed.
    Overdue(Duration),
    /// The process that had started this one ended, so the worker was killed.
    Orphaned,
}

/// Watches `child` until it has ended. The first request to stop is passed on as SIGTERM, once; `grace` later it is killed.
/// The signal that asked is told to `asked_by`. Every heartbeat goes to `watch` and then to `told`; a signal that stops it without ending it (SIGSTOP, a debugger's) goes
/// to `stopped`, since all other ranks will wait for this one. Returns how it ended, and whether it had been asked to stop.
///
/// # Errors
/// The system's, if the process cannot be waited for or killed.
pub fn supervise(
    child: &mut Child,
    watch: &mut Watch,
    events: &Receiver<Event>,
    grace: Duration,
    mut told: impl FnMut(&Watch),
    mut stopped: impl FnMut(Signal, &Watch),
    mut asked_by: impl FnMut(Signal),
) -> std::io::Result<(Ending, bool)> {
    /// How often the parent is looked at; nothing wakes us when it ends.
    const TICK: Duration = Duration::from_millis(250);
    let parent = getppid();
    let mut asked: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait()? {
            // Its last words may still be on their way through the pipe.
            while let Ok(event) = events.recv_timeout(Duration::from_millis(100)) {
                if let Event::Beat(beat) = event {
                    watch.beat(beat, Instant::now());
                    told(watch);
                }
            }
            return Ok((ending(status), asked.is_some()));
        }
        if let Some(signal) = newly_stopped(child) {
            stopped(signal, watch);
        }
        let now = Instant::now();
        let reason = if getppid() != parent {
            Some(Ending::Orphaned)
        } else if asked.is_some_and(|since| now >= since + grace) {
            Some(Ending::Overdue(grace))
        } else if now >= watch.deadline() {
            Some(Ending::Hung(watch.timeout()))
        } else {
            None
        };
        if let Some(reason) = reason {
            child.kill()?;
            let status = child.wait()?;
            // It may have ended by itself in the last moment.
            let by_us = ending(status) == Ending::Killed(Signal::SIGKILL);
            return Ok((if by_us { reason } else { ending(status) }, asked.is_some()));
        }
        match events.recv_timeout(TICK) {
            Ok(Event::Beat(beat)) => {
                watch.beat(beat, Instant::now());
                told(watch);
            }
            Ok(Event::Stop(by)) if asked.is_none() => {
                asked = Some(Instant::now());
                signal(child, Signal::SIGTERM);
                asked_by(by);
            }
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            // The senders live as long as the process; should they not, deadlines still hold.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(TICK),
        }
    }
}

/// Sends `signal` to a child that has not been waited for, so that its number is still its own.
pub fn signal(child: &Child, signal: Signal) {
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// Returns the signal that has stopped a child since this was last asked. Its end is left for `Child` to be waited for.
fn newly_stopped(child: &Child) -> Option<Signal> {
    let pid = Pid::from_raw(i32::try_from(child.id()).ok()?);
    match waitid(Id::Pid(pid), WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG) {
        Ok(WaitStatus::Stopped(_, signal)) => Some(signal),
        _ => None,
    }
}

fn ending(status: ExitStatus) -> Ending {
    use std::os::unix::process::ExitStatusExt;
    match status.signal().map(Signal::try_from) {
        Some(Ok(signal)) => Ending::Killed(signal),
        Some(Err(_)) => Ending::Exited(EXIT_FAILED),
        None => Ending::Exited(status.code().unwrap_or(EXIT_FAILED)),
    }
}

impl Ending {
    /// Returns the exit code (see `defusion_config::protocol`), and what there is to say about it; `at` is where the worker
    /// was last seen.
    pub fn conclusion(&self, asked: bool, at: &str) -> (i32, Option<String>) {
        match self {
            Self::Exited(EXIT_DONE) => (EXIT_DONE, None),
            Self::Exited(code @ 1..=4) => (*code, Some(format!("worker ended: {} ({at})", crate::error::meaning(*code)))),
            Self::Exited(126 | EXIT_NOT_STARTED) => (
                EXIT_USAGE,
                Some("worker did not start; if a shared library is missing, put libtorch's lib folder on LD_LIBRARY_PATH".into()),
            ),
            Self::Exited(code) => (EXIT_FAILED, Some(format!("worker ended with exit code {code} ({at})"))),
            Self::Killed(signal) => {
                let hint = match signal {
                    Signal::SIGKILL => "; if nobody sent it, the kernel was out of memory",
                    Signal::SIGBUS => "; often a full /dev/shm or disk",
                    _ => "",
                };
                // An answer to our request: somebody without a handler for SIGTERM.
                let how = if asked { "was asked to stop and ended" } else { "was ended" };
                (EXIT_FAILED, Some(format!("worker {how} by {} ({at}){hint}", signal.as_str())))
            }
            Self::Hung(silent) => (
                EXIT_HUNG,
                Some(format!("worker hung: no heartbeat for {} s ({at}); it has been killed", silent.as_secs())),
            ),
            Self::Overdue(grace) => (
                EXIT_FAILED,
                Some(format!("worker did not stop within {} s ({at}); it has been killed", grace.as_secs())),
            ),
            Self::Orphaned => (EXIT_FAILED, Some(format!("what started me has ended; worker killed ({at})"))),
        }
    }
}

/// Makes a channel of events.
pub fn channel() -> (Sender<Event>, Receiver<Event>) {
    mpsc::channel()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_has_an_exit_code_and_says_where() {
        let conclusion = |ending: Ending| ending.conclusion(false, "phase diffusion, step 7");
        assert_eq!(conclusion(Ending::Exited(0)), (EXIT_DONE, None));
        for (ending, code, words) in [
            (Ending::Exited(4), 4, "diverged"),
            (Ending::Exited(127), EXIT_USAGE, "LD_LIBRARY_PATH"),
            (Ending::Exited(101), EXIT_FAILED, "exit code 101 (phase diffusion, step 7)"),
            (Ending::Killed(Signal::SIGSEGV), EXIT_FAILED, "SIGSEGV (phase diffusion, step 7)"),
            (Ending::Killed(Signal::SIGKILL), EXIT_FAILED, "out of memory"),
            (Ending::Hung(Duration::from_secs(9)), EXIT_HUNG, "no heartbeat for 9 s (phase diffusion, step 7)"),
            (Ending::Overdue(Duration::from_secs(9)), EXIT_FAILED, "did not stop within 9 s"),
            (Ending::Orphaned, EXIT_FAILED, "what started me has ended"),
        ] {
            let (got, message) = conclusion(ending.clone());
            assert_eq!(got, code, "{ending:?}");
            assert!(message.as_ref().is_some_and(|m| m.contains(words)), "{ending:?}: {message:?}");
        }
    }
}
