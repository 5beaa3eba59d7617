//! The job: mpirun, run until the training has finished.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use defusion_config::protocol::{EXIT_DONE, EXIT_FAILED, EXIT_HUNG, Heartbeat};
use nix::sys::signal::Signal;

use crate::child::tied;
use crate::cli::Request;
use crate::cpus::CpuList;
use crate::error::{LaunchError, meaning};
use crate::heartbeat::{Watch, stage_order};
use crate::logs::say;
use crate::plan::Plan;
use crate::report::{Filter, News, Report};
use crate::restarts::{Decision, Position, Restarts};
use crate::supervise::{Event, channel, signal, signals};
use crate::{mpirun, terminal};

/// Time that ranks have to end and to say why, before mpirun is ended over their heads.
const MARGIN: Duration = Duration::from_secs(30);
/// Time between asking mpirun to end and making it.
const MPIRUN_GRACE: Duration = Duration::from_secs(10);

/// Prints the plan, then runs mpirun until the training is done, has been stopped, or cannot go on.
///
/// # Errors
/// Whatever ends the run other than well.
pub fn run(request: &Request) -> Result<i32, LaunchError> {
    let plan = Plan::new(&request.config);
    plan.print(request.json)?;
    plan.check()?;
    if request.dry_run {
        return Ok(EXIT_DONE);
    }
    let program = mpirun::find()?;
    let env: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let args = mpirun::arguments(request, terminal::announced().as_deref(), &env)?;
    let (to, events) = channel();
    signals(to.clone())?;

    let cluster = &request.config.config.cluster;
    let mut restarts = Restarts::new(cluster);
    let mut first = true;
    loop {
        say(&mpirun::shown(&program, &args));
        let mut mpirun = Mpirun::start(&request.launcher, &program, &args, to.clone())?;
        let mut attempt = Attempt::new(cluster);
        let code = attempt.watch(&mut mpirun.child, &events, Duration::from_secs(cluster.stop_grace_s))?;
        mpirun.drain(&events, &mut attempt);
        let (code, message) = attempt.verdict(code);
        message.as_deref().inspect(|message| say(message));
        if attempt.asked > 0 {
            let state = if code == EXIT_DONE { "stopped" } else { "stopped, but not every worker left as it should" };
            say(&format!("{state}; the same command resumes"));
            return Ok(code);
        }
        if code == EXIT_DONE {
            say("finished");
            return Ok(EXIT_DONE);
        }
        // What happened has been said when it did.
        let ended = |why: &str| LaunchError::Ended { message: format!("{}: {why}", meaning(code)), code };
        if first && attempt.beats.is_empty() && attempt.failure.is_none() {
            return Err(ended("no rank came up; mpirun's own words above say why"));
        }
        first = false;
        match restarts.after(code, attempt.checkpoint) {
            Decision::GiveUp(why) => return Err(ended(&format!("not restarted: {why}"))),
            Decision::Again { after, number } => {
                let (of, after_s) = (restarts.allowed(), after.as_secs_f64());
                say(&format!(
                    "{}: restart {number} of {of} from the newest checkpoint in {after_s:.1} s",
                    meaning(code)
                ));
                if pause(&events, after) {
                    return Err(ended("stopped before the restart; the same command resumes"));
                }
            }
        }
    }
}

/// Waits; true where a request to stop came meanwhile.
fn pause(events: &Receiver<Event>, time: Duration) -> bool {
    let until = Instant::now() + time;
    loop {
        match events.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Event::Stop(_)) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

/// A running mpirun.
struct Mpirun {
    child: Child,
    /// Takes the reports out of its standard error and shows the rest.
    reader: std::thread::JoinHandle<()>,
}

impl Mpirun {
    fn start(
        launcher: &Path,
        program: &Path,
        args: &[std::ffi::OsString],
        to: Sender<Event>,
    ) -> Result<Self, LaunchError> {
        // SIGTERM and not SIGKILL if this process dies: mpirun then ends its ranks, on other hosts too.
        let mut child = tied(launcher, Signal::SIGTERM, &CpuList::default(), program)
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
    fn drain(self, events: &Receiver<Event>, attempt: &mut Attempt) {
        let until = Instant::now() + Duration::from_secs(2);
        while !self.reader.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        for event in events.try_iter() {
            match event {
                Event::Report(report) => attempt.take(report),
                Event::Stop(_) => attempt.asked += 1,
                Event::Child | Event::Beat(_) => {}
            }
        }
    }
}

/// What is known of one run of mpirun.
struct Attempt {
    watch: Watch,
    /// Each rank's newest stage, phase and step, and its host.
    beats: BTreeMap<u32, (String, Position)>,
    /// Exit code of the first failure that was not the answer to a request to stop.
    failure: Option<i32>,
    checkpoint: Option<Position>,
    asked: u32,
    /// mpirun had to be ended because no rank was heard.
    silent: bool,
}

impl Attempt {
    fn new(cluster: &defusion_config::Cluster) -> Self {
        Self {
            watch: Watch::new(cluster, Instant::now()),
            beats: BTreeMap::new(),
            failure: None,
            checkpoint: None,
            asked: 0,
            silent: false,
        }
    }

    fn take(&mut self, report: Report) {
        match report.news {
            News::Beat { stage, phase, step } => {
                let stage = stage.as_deref().and_then(stage_order);
                if let Some(stage) = stage {
                    let position = (stage, step);
                    if phase == "checkpoint" {
                        self.checkpoint = self.checkpoint.max(Some(position));
                    }
                    self.beats.insert(report.rank, (report.host, position));
                } else {
                    self.beats.entry(report.rank).or_insert((report.host, (0, 0)));
                }
                self.watch.beat(Heartbeat { phase, step }, Instant::now());
            }
            News::Ended { code, message, asked } => {
                if code != EXIT_DONE && !asked && self.failure.is_none() {
                    say(&message);
                    self.failure = Some(code);
                }
            }
        }
    }

    /// Watches mpirun to its end; its exit code, or `None` where a signal ended it.
    fn watch(
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
                let silence = self.watch.patience() + MARGIN;
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
                    self.asked += 1;
                    if self.asked == 1 {
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

    /// Exit code, from what ranks told or else from mpirun's own, and what is left to say about it.
    fn verdict(&self, mpirun: Option<i32>) -> (i32, Option<String>) {
        match (self.failure, mpirun) {
            (Some(EXIT_HUNG), _) => (EXIT_HUNG, self.furthest_behind()),
            (Some(code), _) => (code, None),
            _ if self.silent => (EXIT_HUNG, None),
            (None, Some(EXIT_DONE)) => (EXIT_DONE, None),
            (None, Some(code)) => (EXIT_FAILED, Some(format!("mpirun ended with exit code {code}"))),
            (None, None) => (EXIT_FAILED, Some("mpirun was killed".into())),
        }
    }

    /// The ranks that others wait for: those whose last step lies behind that of the rest.
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

    fn report(rank: u32, news: News) -> Report {
        Report { rank, host: format!("h{rank}"), news }
    }

    fn beat(stage: &str, phase: &str, step: u64) -> News {
        News::Beat { stage: Some(stage.into()), phase: phase.into(), step }
    }

    fn attempt(reports: Vec<Report>) -> Attempt {
        let mut attempt = Attempt::new(&defusion_config::Cluster::default());
        reports.into_iter().for_each(|report| attempt.take(report));
        attempt
    }

    #[test]
    fn the_first_failure_that_nobody_asked_for_is_the_verdict() {
        let ended = |code, asked| News::Ended { code, message: format!("code {code}"), asked };
        let attempt = attempt(vec![report(2, ended(1, true)), report(1, ended(4, false)), report(0, ended(1, false))]);
        assert_eq!(attempt.verdict(Some(1)), (4, None));
    }

    #[test]
    fn without_reports_mpiruns_own_code_counts() {
        assert_eq!(attempt(vec![]).verdict(Some(0)).0, EXIT_DONE);
        assert_eq!(attempt(vec![]).verdict(Some(213)).0, EXIT_FAILED);
        assert_eq!(attempt(vec![]).verdict(None).0, EXIT_FAILED);
    }

    #[test]
    fn a_hang_names_the_ranks_behind() {
        let hung = News::Ended { code: EXIT_HUNG, message: "hung".into(), asked: false };
        let attempt = attempt(vec![
            report(0, beat("diffusion", "diffusion", 9)),
            report(1, beat("tokenizer", "tokenizer", 70)),
            report(2, beat("diffusion", "diffusion", 8)),
            report(0, hung),
        ]);
        assert_eq!(attempt.verdict(Some(3)), (EXIT_HUNG, Some("furthest behind: rank 1 on h1 (step 70)".into())));
    }

    #[test]
    fn checkpoints_are_positions_in_order_of_stages() {
        let attempt = attempt(vec![
            report(0, beat("tokenizer", "checkpoint", 100)),
            report(0, beat("diffusion", "diffusion", 7)),
            report(0, beat("diffusion", "checkpoint", 5)),
        ]);
        assert_eq!(attempt.checkpoint, Some((1, 5)));
    }
}
