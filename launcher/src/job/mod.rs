//! The job: mpirun, run until the training has finished.

mod attempt;
mod process;

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use defusion_config::protocol::EXIT_DONE;

use crate::cli::Request;
use crate::error::{LaunchError, meaning};
use crate::logs::say;
use crate::plan::LaunchPlan;
use crate::restarts::{Decision, Restarts};
use crate::supervise::{Event, channel, signals};
use crate::{mpirun, slurm, terminal};
use attempt::Attempt;
use process::Mpirun;

/// Prints the plan, then runs mpirun until the training is done, has been stopped, or cannot go on.
///
/// # Errors
/// [`LaunchError::Usage`] if the plan cannot work or mpirun is missing; [`LaunchError::Ended`] if the run failed and is not
/// started again; [`LaunchError::Io`].
pub fn run(request: &Request) -> Result<i32, LaunchError> {
    let plan = LaunchPlan::new(&request.config);
    plan.print(request.json)?;
    plan.check()?;
    if request.dry_run {
        return Ok(EXIT_DONE);
    }
    let program = mpirun::find()?;
    let mut env: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let leftovers = slurm::leftovers(&request.config.config.cluster, &env);
    if let Some(leftovers) = &leftovers {
        say(&leftovers.message);
        env.retain(|(name, _)| !leftovers.names.contains(name));
    }
    let without = leftovers.map(|leftovers| leftovers.names).unwrap_or_default();
    let args = mpirun::arguments(request, terminal::announced().as_deref(), &env)?;
    let (to, events) = channel();
    signals(to.clone())?;

    let cluster = &request.config.config.cluster;
    let mut restarts = Restarts::new(cluster);
    let mut first = true;
    loop {
        say(&mpirun::shown(&program, &args));
        let mut mpirun = Mpirun::start(&request.launcher, &program, &args, &without, to.clone())?;
        let mut attempt = Attempt::new(cluster);
        let code = attempt.watch(&mut mpirun.child, &events, Duration::from_secs(cluster.stop_grace_s))?;
        mpirun.drain(&events, &mut attempt);
        let (code, message) = attempt.conclusion(code);
        message.as_deref().inspect(|message| say(message));
        if attempt.stop_requests > 0 {
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
            let hint = slurm::hint(&env).map(|hint| format!(". {hint}")).unwrap_or_default();
            return Err(ended(&format!("no rank came up; mpirun's own words above say why{hint}")));
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

/// Waits for `time`. Returns early, and true, if a request to stop comes meanwhile.
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
