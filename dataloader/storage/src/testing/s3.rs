//! A real S3 server for a test: SeaweedFS, whose binary `DEFUSION_WEED` names.

use std::io::Write;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const KEY: &str = "testkey";
const SECRET: &str = "testsecret";

/// A running server with one bucket, in a temporary folder. Killed when dropped.
pub struct ObjectStorage {
    server: Child,
    folder: tempfile::TempDir,
    s3_port: u16,
}

impl ObjectStorage {
    /// Starts a server and makes `bucket`.
    ///
    /// # Panics
    /// If `DEFUSION_WEED` is not set, or the server does not come up within a minute.
    pub fn start(bucket: &str) -> Self {
        let weed = std::env::var_os("DEFUSION_WEED").expect("DEFUSION_WEED names SeaweedFS's binary, weed");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let identities = format!(
            r#"{{"identities":[{{"name":"t","credentials":[{{"accessKey":"{KEY}","secretKey":"{SECRET}"}}],"actions":["Admin"]}}]}}"#
        );
        std::fs::write(folder.path().join("s3.json"), identities).expect("identities written");
        let [master, volume, filer, s3_port] = free_ports();
        let server = Command::new(&weed)
            .args(["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false"])
            .args(["-s3", "-s3.config=s3.json", "-dir=.", "-volume.max=100", "-master.volumeSizeLimitMB=64"])
            .args([format!("-master.port={master}"), format!("-volume.port={volume}")])
            .args([format!("-filer.port={filer}"), format!("-s3.port={s3_port}")])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("weed runs");
        let storage = Self { server, folder, s3_port };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !storage.make_bucket(&weed, master, filer, bucket) {
            assert!(Instant::now() < deadline, "SeaweedFS does not come up");
            std::thread::sleep(Duration::from_millis(500));
        }
        storage
    }

    /// Gives `command` what a store needs to know, as its environment.
    pub fn tell<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command
            .env("AWS_ENDPOINT", format!("http://127.0.0.1:{}", self.s3_port))
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
    }

    /// The word that must never be printed.
    pub fn secret(&self) -> &'static str {
        SECRET
    }

    fn make_bucket(&self, weed: &std::ffi::OsStr, master: u16, filer: u16, bucket: &str) -> bool {
        let shell = Command::new(weed)
            .args(["shell", &format!("-master=127.0.0.1:{master}"), &format!("-filer=127.0.0.1:{filer}")])
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut shell) = shell else { return false };
        // Dropping the pipe ends the shell.
        if let Some(mut input) = shell.stdin.take() {
            let _ = writeln!(input, "s3.bucket.create -name {bucket}\ns3.bucket.list");
        }
        let output = shell.wait_with_output();
        output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(&format!("  {bucket}")))
    }
}

impl Drop for ObjectStorage {
    fn drop(&mut self) {
        // SIGTERM takes SeaweedFS 15 seconds.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Ports that are free, and whose numbers + 10000, which SeaweedFS takes for gRPC, are free too.
fn free_ports() -> [u16; 4] {
    let mut found = Vec::new();
    // Held until all are found, so that none comes twice.
    let mut held = Vec::new();
    let first = 20_000 + (std::process::id() % 10_000) as u16;
    for port in (first..first + 10_000).step_by(7) {
        let both = TcpListener::bind(("127.0.0.1", port))
            .and_then(|a| Ok((a, TcpListener::bind(("127.0.0.1", port + 10_000))?)));
        if let Ok(both) = both {
            held.push(both);
            found.push(port);
        }
        if let Ok(ports) = <[u16; 4]>::try_from(found.as_slice()) {
            return ports;
        }
    }
    panic!("no free ports on the loopback interface");
}
