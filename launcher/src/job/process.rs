//! mpirun as a child of the job.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::attempt::Attempt;
use crate::child::tied;
use crate::cpus::CpuList;
use crate::error::LaunchError;
use crate::report::Filter;
use crate::supervise::Event;

/// A running mpirun.
pub struct Mpirun {
    /// The process, tied to this one's life.
    pub child: Child,
    /// Thread that takes the reports out of its standard error and shows the rest.
    reader: std::thread::JoinHandle<()>,
}

impl Mpirun {
    /// Starts mpirun, without some variables of the environment; its reports arrive at `to`.
    ///
    /// # Errors
    /// [`LaunchError::Io`] if it cannot be started.
    pub fn start(
        launcher: &Path,
        program: &Path,
        args: &[std::ffi::OsString],
        without: &[String],
        to: Sender<Event>,
    ) -> Result<Self, LaunchError> {
        // SIGTERM and not SIGKILL if this process dies: mpirun then ends its ranks, on other hosts too.
        let mut command = tied(launcher, Signal::SIGTERM, &CpuList::default(), program);
        for name in without {
            command.env_remove(name);
        }
        let mut child = command
            .args(args)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| LaunchError::io("start", launcher, e))?;
        let from = child.stderr.take();
        let reader = std::thread::spawn(move || {
            let Some(mut from) = from else { return };
            let mut filter = Filter::default();
            let (mut buffer, mut show) = ([0; 8192], Vec::new());
            while let Ok(n @ 1..) = from.read(&mut buffer) {
                show.clear();
                for report in filter.push(&buffer[..n], &mut show) {
                    let _ = to.send(Event::Report(report));
                }
                let _ = std::io::stderr().write_all(&show);
            }
        });
        Ok(Self { child, reader })
    }

    /// Takes the last reports, which may come after the end of mpirun itself.
    pub fn drain(self, events: &Receiver<Event>, attempt: &mut Attempt) {
        let until = Instant::now() + Duration::from_secs(2);
        while !self.reader.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        for event in events.try_iter() {
            match event {
                Event::Report(report) => attempt.take(report),
                Event::Stop(_) => attempt.stop_requests += 1,
                Event::Child | Event::Beat(_) => {}
            }
        }
    }
}
