//! Shards in a real S3 bucket, processes that race for one small cache, and disks that fill.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use defusion_config::{Degradation, RemoteCache};
use defusion_dataloader::prepare::{PrepareOptions, list_source, prepare};
use defusion_dataloader::shard::DatasetReader;
use defusion_dataloader::verify::verify;
use defusion_imaging::read_pixels;
use defusion_storage::testing::ObjectStorage;

use crate::hostile::dataset;
use crate::shards::save;

const ROLE: &str = "DEFUSION_TEST_ROLE";
const FOLDER: &str = "DEFUSION_TEST_FOLDER";
const SHARDS: &str = "s3://shards/sets";
const IMAGES: u64 = 24;
/// Room for three of the twelve shards, which have about 500 KB each.
const ROOM: u64 = 1_600_000;

/// This test again, in a process of its own, as something else.
fn child(test: &str, role: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).env(FOLDER, folder);
    command
}

fn cache(folder: &Path, bytes: u64) -> RemoteCache {
    let dir = folder.join("cache").display().to_string();
    RemoteCache { dir: Some(dir), max_gib: bytes as f64 / (1u64 << 30) as f64 }
}

/// Bytes of shards in the cache, finished or on their way.
fn cached(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder.join("cache")).into_iter().flatten().flatten();
    let shard = |path: &Path| path.extension().is_some_and(|e| e == "parquet" || e == "part");
    files.filter(|f| shard(&f.path())).map(|f| f.metadata().map_or(0, |m| m.len())).sum()
}

/// What the processes of the first test do.
fn play(role: &str, folder: &Path) {
    let url = format!("{SHARDS}/set");
    match role {
        "prepare" => {
            let descriptor = defusion_datasets::find("pairs").unwrap();
            let listing = list_source(&descriptor, &folder.join("from"), None, &[Degradation::Rain]).unwrap();
            let options = PrepareOptions { shard_bytes: 2 * 2 * 3 * 320 * 320, ..PrepareOptions::new("set", SHARDS) };
            let report = prepare(listing, &options, &|_| ()).unwrap();
            assert_eq!((report.splits["train"].rows, report.splits["train"].shards), (IMAGES, 12));
        }
        "verify" => {
            let found = verify(&url, 2, &|_, _| ()).unwrap();
            assert_eq!((found.shards, found.rows, found.problems.len()), (12, IMAGES, 0), "{found}");
        }
        _ => {
            let reader = DatasetReader::open(&url, &cache(folder, ROOM)).unwrap();
            // Each process goes its own way through the shards, and there are far more than fit.
            let passes = if role == "read on" { 1_000_000 } else { 3 };
            let step = 1 + 2 * (std::process::id() as usize % 12);
            for n in 0..passes * IMAGES as usize {
                let i = n * step % IMAGES as usize;
                let key = reader.record(i).unwrap().key;
                let (hq, lq) = reader.pixels(i).unwrap();
                for (got, file) in [(Some(hq), key.replace("input", "target")), (lq, key)] {
                    let wanted = read_pixels(&folder.join("from").join(file), 1 << 20).unwrap();
                    assert!(got == Some(wanted), "image {i} is another");
                }
                println!("read {i}");
            }
        }
    }
}

/// Waits until the process has read an image.
fn begun(child: &mut Child) {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut lines = lines.map_while(Result::ok);
    assert!(lines.any(|line| line.contains("read ")), "no image was read");
    // It goes on reading; nobody listens.
    std::thread::spawn(move || lines.for_each(drop));
}

#[test]
#[ignore = "service: needs DEFUSION_WEED, SeaweedFS's binary"]
fn service_processes_share_a_small_cache_of_a_bucket() {
    const TEST: &str = "remote::service_processes_share_a_small_cache_of_a_bucket";
    if let (Ok(role), Some(folder)) = (std::env::var(ROLE), std::env::var_os(FOLDER)) {
        return play(&role, Path::new(&folder));
    }
    let storage = ObjectStorage::start("shards");
    let dir = tempfile::tempdir().unwrap();
    for i in 0..IMAGES {
        save(&dir.path().join(format!("from/input/{i:02}.png")), i, 320, 320);
        save(&dir.path().join(format!("from/target/{i:02}.png")), 100 + i, 320, 320);
    }
    let run = |role: &str| storage.tell(&mut child(TEST, role, dir.path())).output().unwrap();
    let succeeds = |role: &str| {
        let output = run(role);
        assert!(output.status.success(), "{role}: {}", String::from_utf8_lossy(&output.stdout));
        assert!(!String::from_utf8_lossy(&output.stderr).contains(storage.secret()));
    };
    succeeds("prepare");
    succeeds("verify");
    let start = |role: &str| {
        let mut command = child(TEST, role, dir.path());
        storage.tell(&mut command).stdout(Stdio::piped()).spawn().unwrap()
    };
    let mut killed = start("read on");
    let mut readers: Vec<Child> = (0..3).map(|_| start("read")).collect();
    readers.iter_mut().chain([&mut killed]).for_each(begun);
    killed.kill().unwrap();
    killed.wait().unwrap();
    for reader in &mut readers {
        while reader.try_wait().unwrap().is_none() {
            // A listing that shards come and go under may count too many; not one after the other.
            let held = (0..6).map(|_| cached(dir.path())).min().unwrap();
            assert!(held <= ROOM, "the cache holds {held} bytes");
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(reader.wait().unwrap().success());
    }
    // What the killed process was fetching does not stay.
    succeeds("read");
    let parts = std::fs::read_dir(dir.path().join("cache")).unwrap().flatten();
    assert_eq!(parts.filter(|f| f.path().extension().is_some_and(|e| e == "part")).count(), 0);
}

#[test]
#[ignore = "service: needs to mount a tmpfs in a namespace of its own"]
fn service_a_full_disk_evicts_before_it_fails() {
    const TEST: &str = "remote::service_a_full_disk_evicts_before_it_fails";
    let Some(folder) = std::env::var_os(FOLDER) else {
        // The cache is a disk with room for one shard and a half; the config allows far more.
        let dir = tempfile::tempdir().unwrap();
        dataset(dir.path(), "memory://full-disk");
        let shards: Vec<u64> = sizes("memory://full-disk/set");
        std::fs::create_dir(dir.path().join("cache")).unwrap();
        let mut mount = Command::new("unshare");
        let disk = format!("mount -t tmpfs -o size={} none \"${FOLDER}/cache\"", shards[0] * 3 / 2);
        mount.args(["--map-root-user", "--mount", "sh", "-c", &format!("{disk} && exec \"$0\" \"$@\"")]);
        let again = child(TEST, "full", dir.path());
        mount.arg(again.get_program()).args(again.get_args());
        let output = mount.env(FOLDER, dir.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    };
    let folder = Path::new(&folder);
    let from = tempfile::tempdir().unwrap();
    let url = dataset(from.path(), "memory://full-disk");
    let reader = DatasetReader::open(&url, &cache(folder, 1 << 30)).unwrap();
    for i in [0, 2, 0, 3, 1] {
        reader.full(i).unwrap();
        assert!(cached(folder) > 0);
    }
    // Now something else fills it, and nothing is left to evict.
    for file in std::fs::read_dir(folder.join("cache")).unwrap().flatten() {
        std::fs::remove_file(file.path()).unwrap();
    }
    let _ = std::fs::write(folder.join("cache/other"), vec![1; 1 << 20]);
    let other = DatasetReader::open(&url, &cache(folder, 1 << 30)).unwrap();
    let error = other.full(0).unwrap_err().to_string();
    assert!(error.contains("its disk is full") && error.contains("data.cache.dir"), "{error}");
    std::fs::remove_file(folder.join("cache/other")).unwrap();
    other.full(0).unwrap();
}

fn sizes(url: &str) -> Vec<u64> {
    let store = defusion_storage::Store::open(url).unwrap();
    defusion_dataloader::shard::read_manifest(&store).unwrap().shards.iter().map(|s| s.bytes).collect()
}
