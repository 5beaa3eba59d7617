//! Starting a training job in the background, following its words, and killing parts of it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A running job. Killed with all that it started when dropped.
pub struct Job {
    child: Child,
    lines: Receiver<String>,
    heard: Vec<String>,
}

impl Job {
    /// Starts `command`, listening to both its outputs.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("job starts");
        let (tx, lines) = channel();
        let (stdout, stderr) = (child.stdout.take().expect("stdout"), child.stderr.take().expect("stderr"));
        let other = tx.clone();
        std::thread::spawn(move || BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|l| tx.send(l)));
        std::thread::spawn(move || {
            BufReader::new(stderr).lines().map_while(Result::ok).try_for_each(|l| other.send(l))
        });
        Self { child, lines, heard: Vec::new() }
    }

    /// Waits until a line for which `wanted` holds has been printed, and returns it; `None` if the job ended first.
    ///
    /// # Panics
    /// If that takes longer than two minutes.
    pub fn until(&mut self, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.heard.push(line.clone());
                    if wanted(&line) {
                        return Some(line);
                    }
                }
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return None,
                Err(_) => panic!("the line did not come within two minutes; heard:\n{}", self.transcript()),
            }
        }
    }

    /// Process ids of the `defusion worker`s that descend from this job.
    pub fn workers(&self) -> Vec<Pid> {
        descendants(self.pid())
            .into_iter()
            .filter(|pid| {
                let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let mut args = cmdline.split(|b| *b == 0);
                args.next().is_some_and(|program| program.ends_with(b"/defusion")) && args.next() == Some(b"worker")
            })
            .collect()
    }

    /// The job's own process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Sends `signal` to `pid`; a process that is gone already is no error.
    pub fn signal(pid: Pid, signal: Signal) {
        let _ = kill(pid, signal);
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// If that takes longer than three minutes.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(180);
        loop {
            while let Ok(line) = self.lines.try_recv() {
                self.heard.push(line);
            }
            if let Some(status) = self.child.try_wait().expect("job can be waited for") {
                while let Ok(line) = self.lines.recv_timeout(Duration::from_millis(200)) {
                    self.heard.push(line);
                }
                return status;
            }
            assert!(Instant::now() < deadline, "the job does not end; heard:\n{}", self.transcript());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// All lines heard so far.
    pub fn transcript(&self) -> String {
        self.heard.join("\n")
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        for pid in descendants(self.pid()).into_iter().chain([self.pid()]) {
            Self::signal(pid, Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

fn descendants(root: Pid) -> Vec<Pid> {
    let parents: Vec<(i32, i32)> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The command's name may hold blanks and brackets; the fields after its last bracket do not.
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect();
    let mut found = vec![root.as_raw()];
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        found.extend(parents.iter().filter(|(_, parent)| *parent == pid).map(|(child, _)| *child));
        next += 1;
    }
    found.into_iter().skip(1).map(Pid::from_raw).collect()
}
