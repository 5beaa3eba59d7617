//! One rank of an MPI job: its worker's parent.

use std::cell::RefCell;
use std::path::Path;
use std::time::{Duration, Instant};

use defusion_config::protocol::{EXIT_DONE, EXIT_USAGE};

use nix::sys::signal::Signal;

use crate::cli::Request;
use crate::cpus::Node;
use crate::error::LaunchError;
use crate::heartbeat::Watch;
use crate::logs::{say, speak_as};
use crate::plan::LaunchPlan;
use crate::report::Reporter;
use crate::spawn::{Order, Worker};
use crate::starter::{Hold, cpus_of_starter};
use crate::supervise::{Ending, channel, heartbeats, signals, supervise};
use crate::topology::{Duty, Place, Starter, host_name};
use crate::{gpus, surplus, terminal};

/// Runs this rank to its end and returns its exit code.
///
/// # Errors
/// [`LaunchError`]: what keeps the worker from being started or watched.
pub fn run(request: &Request, place: &Place) -> Result<i32, LaunchError> {
    if request.dry_run {
        if place.rank == 0 {
            let plan = LaunchPlan::new(&request.config);
            plan.print(request.json)?;
            plan.check()?;
        }
        return Ok(EXIT_DONE);
    }
    speak_as(place.rank);
    let cluster = &request.config.config.cluster;
    let mut reporter = Reporter::new(place.rank, host_name());
    let ended = match place.duty(cluster) {
        Ok(Duty::Work) => work(request, place, &mut reporter),
        Ok(Duty::Wait) => surplus::wait(),
        Err(_) if !place.speaks(cluster) => Ok(leave_the_word_to_another()),
        Err(error) => Err(error),
    };
    match ended {
        // The job says it, and knows what to do about it.
        Err(error) if reporter.is_heard() => {
            reporter.ended(error.exit_code(), &format!("rank {}: {error}", place.rank), false);
            Ok(error.exit_code())
        }
        ended => ended,
    }
}

/// Leaves an error to another rank, and gives that one the time to report it, since mpirun ends all ranks when the first
/// ends. Returns the exit code.
pub fn leave_the_word_to_another() -> i32 {
    std::thread::sleep(Duration::from_secs(5));
    EXIT_USAGE
}

fn work(request: &Request, place: &Place, reporter: &mut Reporter) -> Result<i32, LaunchError> {
    let config = &request.config.config;
    let cluster = &config.cluster;
    let host = host_name();
    // On its own under a bare mpirun, rank 0 says what is going to happen.
    if place.rank == 0 && !reporter.is_heard() {
        let plan = LaunchPlan::new(&request.config);
        plan.print(false)?;
        plan.check()?;
    }

    let visible = gpus::visible(std::env::var("CUDA_VISIBLE_DEVICES").ok().as_deref(), Path::new("/dev"));
    let device = gpus::device(cluster.device, place.local_rank, cluster.workers_per_node, visible)?;
    let binding = place.binding(|name| std::env::var(name).ok());
    let starter = matches!(place.starter, Starter::OpenMpi | Starter::Hydra).then(cpus_of_starter).flatten();
    let node = Node::look(binding, starter);
    let share =
        node.share(cluster.workers_per_node as usize, place.local_rank as usize, cluster.threads_per_worker as usize);
    let remark = node.remark(&share).map(|remark| format!("; {remark}")).unwrap_or_default();
    say(&format!("rank {} on {host}: {device}, {share}{remark}", place.rank));

    let (to, events) = channel();
    signals(to.clone())?;
    let terminal = terminal::of_rank();
    let mut worker = Worker::start(&Order {
        launcher: &request.launcher,
        program: &request.worker,
        config: &request.config.path,
        overrides: &request.overrides,
        rank: place.rank,
        local_rank: place.local_rank,
        device: &device,
        share: &share,
        terminal: terminal.as_deref(),
    })?;
    heartbeats(worker.heartbeat, to);
    let mut watch = Watch::new(cluster, Instant::now());
    let grace = Duration::from_secs(cluster.stop_grace_s);
    let stopped = |signal, watch: &Watch| {
        let at = watch.place();
        say(&format!(
            "rank {} on {host}: worker is stopped by {signal} ({at}); all other ranks wait for it",
            place.rank
        ));
    };
    // The job sends what mpirun passes on; without one, mpirun itself is asked, and kills.
    let bare = !reporter.is_heard() && place.starter == Starter::OpenMpi;
    let hold = RefCell::new(Hold::default());
    let asked = |signal| {
        if bare && signal == Signal::SIGTERM && hold.borrow_mut().begin(place.local_size) && place.local_rank == 0 {
            say(&format!(
                "SIGTERM: stopping after a checkpoint; mpirun waits for it on {host}, {} s at most",
                grace.as_secs()
            ));
        }
    };
    let told = |watch: &Watch| {
        reporter.beat(watch);
        // Every rank's share of the checkpoint is safe by then.
        if watch.last().phase == "done" {
            hold.borrow_mut().release();
        }
    };
    let (ending, asked) = supervise(&mut worker.child, &mut watch, &events, grace, told, stopped, asked)
        .map_err(|e| LaunchError::io("watch", &request.worker, e))?;
    hold.borrow_mut().release();
    drain(worker.output);

    let (code, message) = ending.conclusion(asked, &watch.place());
    let message = message.map(|m| format!("rank {} on {host}: {m}", place.rank)).unwrap_or_default();
    // Whatever a worker does that was asked to stop is no news, unless it did not.
    let asked = asked && !matches!(ending, Ending::Overdue(_));
    reporter.ended(code, &message, asked);
    if !message.is_empty() && !reporter.is_heard() && !asked {
        say(&message);
    }
    Ok(code)
}

/// Waits for the last lines of a worker's output, but two seconds at most: something it left behind may hold the pipe.
fn drain(output: Vec<std::thread::JoinHandle<()>>) {
    let deadline = Instant::now() + Duration::from_secs(2);
    while Instant::now() < deadline && output.iter().any(|thread| !thread.is_finished()) {
        std::thread::sleep(Duration::from_millis(10));
    }
}
