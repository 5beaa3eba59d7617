//! The least that a worker has to do: what the launcher expects of `defusion worker`, without any training.
//!
//! `FAKE` in its environment is a script of words, done in order; the launcher's tests are written in it:
//!
//! | word | does |
//! |---|---|
//! | `beat:PHASE:STEP` | writes a heartbeat |
//! | `safe:STEP` | says that stage 2's checkpoint of that step is safe |
//! | `sleep:MS` | sleeps |
//! | `exit:CODE`, `die:SIGNAL` | ends, by itself or by a signal |
//! | `hang` | sleeps for ever |
//! | `deaf` | ignores SIGTERM from here on |
//! | `stop` | waits for SIGTERM, then exits with 0 |
//! | `await` | waits for SIGTERM, then goes on |
//! | `say:TEXT`, `warn:TEXT` | prints a line to standard output, standard error |
//! | `tell` | prints its rank, device, threads, CPUs and process numbers |
//! | `mpi` | joins MPI as a worker must: split by colour, and meet the surplus ranks in the world's last barrier at the end |
//! | `sum` | all-reduces 1 over the workers and prints the sum |
//! | `only:RANK` | leaves out the rest on other ranks, `stop`s there instead |
//! | `once:FILE` | leaves out the rest if FILE exists; makes it otherwise |

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use defusion_config::Stage;
use defusion_config::protocol::{
    COLOR_WORKER, ENV_DEVICE, ENV_HEARTBEAT_FD, ENV_TERMINAL, ENV_THREADS, EXIT_USAGE, Heartbeat, SafeCheckpoint,
};
use mpi::collective::{CommunicatorCollectives, SystemOperation};
use mpi::topology::{Color, Communicator, SimpleCommunicator};

fn main() {
    let script = std::env::var("FAKE").unwrap_or_default();
    let term = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, term.clone()).expect("SIGTERM handler");
    let mut heartbeat = std::env::var(ENV_HEARTBEAT_FD).ok().map(|fd| {
        // Opening the number anew needs no `unsafe`; a worker that may use it takes the descriptor itself.
        File::options().append(true).open(format!("/proc/self/fd/{fd}")).expect("heartbeat pipe")
    });
    let rank = std::env::var("OMPI_COMM_WORLD_RANK").unwrap_or_default();
    let mut mpi: Option<(mpi::environment::Universe, SimpleCommunicator)> = None;
    let mut deaf = false;

    for word in script.split_whitespace() {
        let (word, value) = word.split_once(':').unwrap_or((word, ""));
        let number = || value.parse::<u64>().expect("a number");
        match word {
            "beat" => {
                let (phase, step) = value.split_once(':').expect("beat:PHASE:STEP");
                let step = step.parse().expect("a step");
                write(heartbeat.as_mut(), &Heartbeat { phase: phase.into(), step, checkpoint: None });
            }
            "safe" => {
                let checkpoint = Some(SafeCheckpoint { stage: Stage::Diffusion, step: number() });
                write(heartbeat.as_mut(), &Heartbeat { phase: "diffusion".into(), step: number(), checkpoint });
            }
            "sleep" => nap(number(), &term, deaf),
            "exit" => std::process::exit(i32::try_from(number()).expect("a code")),
            "die" => {
                let signal = nix::sys::signal::Signal::try_from(number() as i32).expect("a signal");
                // Twice: Rust's own handler for SIGSEGV takes the first and steps aside.
                nix::sys::signal::raise(signal).expect("raise");
                nix::sys::signal::raise(signal).expect("raise");
            }
            "hang" => nap(u64::MAX, &term, deaf),
            "deaf" => deaf = true,
            "stop" => wait_for(&term),
            "await" => {
                while !term.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            "say" => println!("{value}"),
            "warn" => eprintln!("{value}"),
            "tell" => tell(&rank),
            "mpi" => {
                let universe = mpi::initialize().expect("MPI");
                let workers = universe.world().split_by_color(Color::with_value(COLOR_WORKER)).expect("workers");
                mpi = Some((universe, workers));
            }
            "sum" => {
                let (_, workers) = mpi.as_ref().expect("`mpi` first");
                let mut sum = 0u32;
                workers.all_reduce_into(&1u32, &mut sum, SystemOperation::sum());
                println!("sum={sum} of {}", workers.size());
            }
            "only" if value == rank => {}
            "only" => nap(u64::MAX, &term, deaf),
            "once" if std::path::Path::new(value).exists() => break,
            "once" => drop(File::create(value).expect("a file")),
            _ => {
                eprintln!("`{word}` is not understood");
                std::process::exit(EXIT_USAGE);
            }
        }
    }
    if let Some((universe, workers)) = mpi {
        drop(workers);
        // The surplus ranks sleep in this barrier; then all leave MPI together.
        universe.world().immediate_barrier().wait();
    }
}

fn write(pipe: Option<&mut File>, beat: &Heartbeat) {
    let line = serde_json::to_string(beat).expect("JSON") + "\n";
    pipe.expect("a launcher").write_all(line.as_bytes()).expect("heartbeat");
}

/// Sleeps; a SIGTERM ends this process with 0, as a worker that has left a checkpoint, unless it is deaf.
fn nap(ms: u64, term: &AtomicBool, deaf: bool) {
    let mut left = Duration::from_millis(ms);
    while !left.is_zero() {
        let step = left.min(Duration::from_millis(20));
        std::thread::sleep(step);
        left -= step;
        if !deaf && term.load(Ordering::SeqCst) {
            std::process::exit(0);
        }
    }
}

fn wait_for(term: &AtomicBool) {
    nap(u64::MAX, term, false);
}

fn tell(rank: &str) {
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    let cpus = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).expect("affinity");
    let cpus = (0..nix::sched::CpuSet::count()).filter(|cpu| cpus.is_set(*cpu) == Ok(true)).count();
    println!(
        "rank={rank} device={} threads={} omp={} cpus={cpus} terminal={} parent={} pid={} args={:?}",
        var(ENV_DEVICE),
        var(ENV_THREADS),
        var("OMP_NUM_THREADS"),
        var(ENV_TERMINAL),
        nix::unistd::getppid(),
        std::process::id(),
        std::env::args().skip(1).collect::<Vec<_>>(),
    );
}
