//! Runs the launcher with the minimal worker under real `mpirun`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Long enough for any machine; nothing in the tests waits for it unless it fails.
const AGES: Duration = Duration::from_secs(120);

/// One launch in the making.
pub struct Launch {
    folder: TempDir,
    script: String,
    sets: Vec<String>,
    ranks: Option<(u32, Vec<&'static str>)>,
    worker: PathBuf,
    path: Option<String>,
    under: Vec<String>,
    env: Vec<(String, String)>,
    yaml: String,
}

/// What came of it.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

pub fn launcher() -> PathBuf {
    env!("CARGO_BIN_EXE_defusion-launch").into()
}

/// The worker whose behaviour is the script `script`: see `examples/minimal_worker.rs`.
pub fn worker(script: &str) -> Launch {
    let worker = launcher().with_file_name("examples").join("minimal_worker");
    assert!(worker.is_file(), "{} is missing: build it with `cargo build --release --examples`", worker.display());
    Launch {
        folder: tempfile::tempdir().unwrap(),
        script: script.into(),
        sets: Vec::new(),
        ranks: None,
        worker,
        path: None,
        under: Vec::new(),
        env: Vec::new(),
        yaml: "name: test\nrun: run\n\
               data: {shards: shards, datasets: [{name: photos}]}\n\
               tokenizer: {perceptual_weight: 0, global_batch: 4}\ndiffusion: {global_batch: 4}\n\
               cluster: {device: cpu, workers_per_node: 2, max_restarts: 0, restart_backoff_s: 0, stop_grace_s: 60}\n"
            .into(),
    }
}

impl Launch {
    /// With a change to the config.
    pub fn set(mut self, change: &str) -> Self {
        self.sets.push(change.into());
        self
    }

    /// With another config.
    pub fn yaml(mut self, yaml: &str) -> Self {
        self.yaml = yaml.into();
        self
    }

    /// With another program for the worker.
    pub fn worker(mut self, program: &Path) -> Self {
        self.worker = program.into();
        self
    }

    /// With another PATH.
    pub fn path(mut self, path: &str) -> Self {
        self.path = Some(path.into());
        self
    }

    /// With the whole command under another, such as `taskset -c 0`.
    pub fn under(mut self, command: &[&str]) -> Self {
        self.under = command.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// With a variable in its environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Under `mpirun` with this many ranks, instead of by itself.
    pub fn ranks(mut self, ranks: u32, args: &[&'static str]) -> Self {
        self.ranks = Some((ranks, args.to_vec()));
        self
    }

    /// A file in this launch's own folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self) -> Command {
        let config = self.file("test.yaml");
        std::fs::write(&config, &self.yaml).unwrap();
        let start = |program: &Path| match self.under.split_first() {
            None => Command::new(program),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        let mut command = match &self.ranks {
            None => start(&launcher()),
            Some((ranks, args)) => {
                let mut command = start(Path::new("mpirun"));
                command.args(["-n", &ranks.to_string(), "--oversubscribe"]).args(args).arg(launcher());
                command
            }
        };
        command.arg("--config").arg(config).arg("--worker-binary").arg(&self.worker);
        for change in &self.sets {
            command.args(["--set", change]);
        }
        if let Some(path) = &self.path {
            command.env("PATH", path);
        }
        command.envs(self.env.iter().cloned());
        let script = self.script.replace("FOLDER", &self.folder.path().display().to_string());
        command
            .env("FAKE", script)
            .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
            .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs it to its end.
    pub fn run(self) -> Ended {
        let Output { status, stdout, stderr } = self.command().output().expect("start");
        Ended {
            code: status.code(),
            out: String::from_utf8_lossy(&stdout).replace('\r', ""),
            err: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    /// Starts it.
    pub fn start(self) -> Running {
        let mut child = self.command().spawn().expect("start");
        let out = collect(child.stdout.take().unwrap());
        let err = collect(child.stderr.take().unwrap());
        Running { child, out, err, _folder: self.folder }
    }
}

type Text = std::sync::Arc<std::sync::Mutex<String>>;

fn collect(mut from: impl Read + Send + 'static) -> Text {
    let text = Text::default();
    let to = text.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            to.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..n]).replace('\r', ""));
        }
    });
    text
}

/// A launch that is going on.
pub struct Running {
    pub child: Child,
    out: Text,
    err: Text,
    _folder: TempDir,
}

impl Running {
    /// The process that was started: the job, or `mpirun`.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until standard output has `count` lines with `text`, and returns them.
    pub fn await_lines(&self, text: &str, count: usize) -> Vec<String> {
        let lines = || -> Vec<String> {
            self.out.lock().unwrap().lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
        };
        eventually(|| lines().len() >= count, || format!("{count} lines with {text:?} in\n{}", self.everything()));
        lines()
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        send(self.pid(), signal);
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        let mut status = None;
        let everything = (self.out.clone(), self.err.clone());
        eventually(
            || {
                status = self.child.try_wait().unwrap();
                status.is_some()
            },
            || format!("an end of {everything:?}"),
        );
        // The readers see the end of the pipes a moment later.
        std::thread::sleep(Duration::from_millis(200));
        let code = status.and_then(|status| status.code());
        Ended { code, out: self.out.lock().unwrap().clone(), err: self.err.lock().unwrap().clone() }
    }

    fn everything(&self) -> String {
        format!("{}\n{}", self.out.lock().unwrap(), self.err.lock().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn send(pid: u32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), signal).expect("signal");
}

/// Waits until `done`, or fails with what was waited for.
pub fn eventually(mut done: impl FnMut() -> bool, what: impl Fn() -> String) {
    let until = Instant::now() + AGES;
    while !done() {
        assert!(Instant::now() < until, "waited in vain for {}", what());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a process runs (a zombie does not).
pub fn runs(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    !matches!(stat.rsplit(") ").next().and_then(|rest| rest.chars().next()), Some('Z' | 'X') | None)
}

/// The value of `name=value` in a line of the worker's `tell`.
pub fn value(line: &str, name: &str) -> String {
    let found = line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {name} in {line:?}")).to_owned()
}

impl Ended {
    /// Fails unless the exit code is this one.
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "\n{}\n{}", self.out, self.err);
        self
    }

    /// Fails unless standard error holds all of these.
    pub fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.err.contains(text), "no {text:?} in\n{}", self.err);
        }
        self
    }

    /// How often standard error holds this.
    pub fn times(&self, text: &str) -> usize {
        self.err.matches(text).count()
    }
}
