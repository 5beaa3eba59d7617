//! Starting a worker: its environment, its heartbeat pipe, its output.

use std::collections::BTreeMap;
use std::io::PipeReader;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::JoinHandle;

use defusion_config::protocol::{ENV_DEVICE, ENV_HEARTBEAT_FD, ENV_LOCAL_RANK, ENV_TERMINAL, ENV_THREADS};
use defusion_config::{Device, Override};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::Signal;

use crate::child::tied;
use crate::cpus::Share;
use crate::error::LaunchError;
use crate::logs;

/// What a worker is started with.
#[derive(Debug)]
pub struct Order<'a> {
    /// Path of this program.
    pub launcher: &'a Path,
    /// Path of the worker's program.
    pub program: &'a Path,
    /// Path of the config.
    pub config: &'a Path,
    /// Changes to the config.
    pub overrides: &'a [Override],
    /// Rank in the world, for its output.
    pub rank: u32,
    /// Its number among the workers of its host.
    pub local_rank: u32,
    /// `cpu` or `cuda:N`.
    pub device: &'a str,
    /// Threads and CPUs of the worker.
    pub share: &'a Share,
    /// Terminal that the run is watched on; only rank 0 is told.
    pub terminal: Option<&'a Path>,
}

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    /// The process.
    pub child: Child,
    /// Pipe of its heartbeats; ends when the worker ends.
    pub heartbeat: PipeReader,
    /// Threads that copy its output; none for rank 0.
    pub output: Vec<JoinHandle<()>>,
}

impl Worker {
    /// Starts a worker. Call from the main thread: the worker is killed when the calling thread ends.
    ///
    /// # Errors
    /// [`LaunchError::Io`] if the program does not exist, or if there is no pipe or process to be had.
    pub fn start(order: &Order) -> Result<Self, LaunchError> {
        let failed = |source| LaunchError::io("start", order.program, source);
        if !order.program.is_file() {
            return Err(failed(std::io::ErrorKind::NotFound.into()));
        }
        let (heartbeat, writer) = std::io::pipe().map_err(failed)?;
        fcntl(&writer, FcntlArg::F_SETFD(FdFlag::empty())).map_err(|e| failed(e.into()))?;

        let mut command = tied(order.launcher, Signal::SIGKILL, &order.share.cpus, order.program);
        command.arg("worker").arg("--config").arg(order.config);
        for change in order.overrides {
            command.args(["--set", &change.to_string()]);
        }
        command
            .envs(environment(order, |name| std::env::var(name).ok()))
            .env(ENV_HEARTBEAT_FD, writer.as_raw_fd().to_string())
            .stdin(Stdio::null());
        if order.rank > 0 {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        let mut child = command.spawn().map_err(|e| LaunchError::io("start", order.launcher, e))?;
        drop(writer);
        let prefix = logs::prefix(order.rank);
        let stdout = child.stdout.take().map(|from| logs::forward(from, std::io::stdout(), prefix.clone()));
        let stderr = child.stderr.take().map(|from| logs::forward(from, std::io::stderr(), prefix));
        Ok(Self { child, heartbeat, output: stdout.into_iter().chain(stderr).collect() })
    }
}

/// Returns what a worker's environment has in addition to the launcher's, which holds what MPI needs.
pub fn environment(order: &Order, get: impl Fn(&str) -> Option<String>) -> BTreeMap<&'static str, String> {
    let threads = order.share.threads.to_string();
    let cpu = order.device == "cpu";
    let mut env = BTreeMap::from([
        (ENV_DEVICE, order.device.to_owned()),
        (ENV_LOCAL_RANK, order.local_rank.to_string()),
        (ENV_THREADS, threads.clone()),
        ("OMP_NUM_THREADS", threads.clone()),
        ("MKL_NUM_THREADS", threads),
        ("GLIBC_TUNABLES", tunables(get("GLIBC_TUNABLES"), if cpu { Device::Cpu } else { Device::Cuda })),
    ]);
    if let (Some(terminal), 0) = (order.terminal, order.rank) {
        env.insert(ENV_TERMINAL, terminal.display().to_string());
    }
    // Open MPI waits by spinning; on a CPU it would spin on the cores that compute.
    if cpu && get(YIELD).is_none() {
        env.insert(YIELD, "1".into());
    }
    if let Some(libtorch) = get("LIBTORCH") {
        let lib = PathBuf::from(libtorch).join("lib").display().to_string();
        let path = get("LD_LIBRARY_PATH").unwrap_or_default();
        if !path.split(':').any(|entry| entry == lib) {
            env.insert("LD_LIBRARY_PATH", if path.is_empty() { lib } else { format!("{path}:{lib}") });
        }
    }
    env
}

const YIELD: &str = "OMPI_MCA_mpi_yield_when_idle";

/// glibc's malloc, told to keep what it has: by default it gives every large tensor back to the kernel and takes it
/// anew, page by page, at every step. The user's own settings win (the last of two equal names counts).
///
/// Measured with 50 rounds of 100 MiB + 50 MiB allocated, touched and freed: 1.92M page faults by default, 38k with the
/// thresholds, 0.2k with huge pages too. Off the main thread the thresholds help only if all threads share one arena, since
/// others hold 64 MiB at most; that costs a lock per large allocation, so GPU workers, whose tensors are elsewhere and whose
/// loader threads allocate much, keep theirs.
fn tunables(own: Option<String>, device: Device) -> String {
    /// The first line is for all workers, the second for those on CPUs. Benchmark scripts read this file too.
    const TUNABLES: &str = include_str!("malloc-tunables.txt");
    let mut all: Vec<&str> = TUNABLES.lines().take(if device == Device::Cpu { 2 } else { 1 }).collect();
    let own = own.unwrap_or_default();
    all.extend((!own.is_empty()).then_some(own.as_str()));
    all.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpus::CpuList;

    fn env_of(device: &str, rank: u32, vars: &[(&str, &str)]) -> BTreeMap<&'static str, String> {
        let share = Share { threads: 3, cpus: CpuList::default(), why: "test" };
        let order = Order {
            launcher: Path::new("l"),
            program: Path::new("p"),
            config: Path::new("c"),
            overrides: &[],
            rank,
            local_rank: rank % 4,
            device,
            share: &share,
            terminal: Some(Path::new("/dev/pts/3")),
        };
        environment(&order, |name| vars.iter().find(|(k, _)| *k == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn a_worker_is_told_its_device_and_threads() {
        let env = env_of("cpu", 0, &[]);
        for (name, value) in [(ENV_DEVICE, "cpu"), (ENV_THREADS, "3"), ("OMP_NUM_THREADS", "3"), (YIELD, "1")] {
            assert_eq!(env[name], value, "{name}");
        }
        assert!(env.contains_key(ENV_TERMINAL) && !env_of("cpu", 1, &[]).contains_key(ENV_TERMINAL));
        assert!(!env_of("cuda:0", 0, &[]).contains_key(YIELD));
        assert_eq!(env_of("cpu", 6, &[])[ENV_LOCAL_RANK], "2");
    }

    #[test]
    fn the_users_own_settings_win() {
        assert!(!env_of("cpu", 0, &[(YIELD, "0")]).contains_key(YIELD));
        let tunables = &env_of("cpu", 0, &[("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")])["GLIBC_TUNABLES"];
        assert!(tunables.ends_with(":glibc.malloc.hugetlb=0"), "{tunables}");
    }

    #[test]
    fn workers_on_cpus_have_more_settings_of_malloc_than_those_on_gpus() {
        let keep = "glibc.malloc.mmap_threshold=17179869184:glibc.malloc.trim_threshold=17179869184";
        assert_eq!(env_of("cuda:0", 0, &[])["GLIBC_TUNABLES"], keep);
        let on_cpu = format!("{keep}:glibc.malloc.arena_max=1:glibc.malloc.hugetlb=1");
        assert_eq!(env_of("cpu", 0, &[])["GLIBC_TUNABLES"], on_cpu);
    }

    #[test]
    fn the_library_path_is_touched_only_where_libtorch_is_missing_from_it() {
        assert!(!env_of("cpu", 0, &[]).contains_key("LD_LIBRARY_PATH"));
        assert_eq!(env_of("cpu", 0, &[("LIBTORCH", "/t")])["LD_LIBRARY_PATH"], "/t/lib");
        let vars = [("LIBTORCH", "/t"), ("LD_LIBRARY_PATH", "/a:/t/lib")];
        assert!(!env_of("cpu", 0, &vars).contains_key("LD_LIBRARY_PATH"));
    }
}
