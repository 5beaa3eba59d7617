//! Valid manifests and shards, changed in any way: an error or sound data, never a panic, never much memory.

use std::process::Command;

use defusion_dataloader::shard::MANIFEST;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::fuzzed;
use crate::hostile::local;

/// Address space of the process that reads damaged shards, KiB. The shards have a few kilobytes.
const MEMORY: u64 = 1 << 20;

/// One change to a file; places are shares of its length, so that they fit any.
#[derive(Clone, Debug)]
enum Change {
    Overwrite(f64, Vec<u8>),
    Insert(f64, Vec<u8>),
    Delete(f64, usize),
    /// Copies so many bytes from one place over another.
    Copy(f64, f64, usize),
    /// A little-endian integer that is often a length.
    Number(f64, u32),
    FlipBit(f64, u8),
}

fn place() -> impl Strategy<Value = f64> {
    // Metadata lies at the end: half of the changes go there.
    prop_oneof![0.0..1.0f64, 0.7..1.0f64]
}

fn change() -> impl Strategy<Value = Change> {
    let bytes = || proptest::collection::vec(any::<u8>(), 1..9);
    let number = prop_oneof![any::<u32>(), Just(0), Just(u32::MAX), Just(i32::MAX as u32), 0u32..100_000];
    prop_oneof![
        (place(), bytes()).prop_map(|(at, bytes)| Change::Overwrite(at, bytes)),
        (place(), bytes()).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (place(), 1usize..2000).prop_map(|(at, len)| Change::Delete(at, len)),
        (place(), place(), 1usize..2000).prop_map(|(from, to, len)| Change::Copy(from, to, len)),
        (place(), number).prop_map(|(at, number)| Change::Number(at, number)),
        (place(), 0u8..8).prop_map(|(at, bit)| Change::FlipBit(at, bit)),
    ]
}

fn apply(changes: &[Change], file: &mut Vec<u8>) {
    for change in changes {
        let at = |share: f64| (share * file.len() as f64) as usize;
        match change {
            Change::Overwrite(to, bytes) => overwrite(at(*to), bytes, file),
            Change::Number(to, number) => overwrite(at(*to), &number.to_le_bytes(), file),
            Change::Insert(to, bytes) => drop(file.splice(at(*to)..at(*to), bytes.iter().copied())),
            Change::Delete(to, len) => drop(file.drain(at(*to)..file.len().min(at(*to) + len))),
            Change::Copy(from, to, len) => {
                let part = file[at(*from)..file.len().min(at(*from) + len)].to_vec();
                overwrite(at(*to), &part, file);
            }
            Change::FlipBit(to, bit) => {
                let to = at(*to);
                file.get_mut(to).into_iter().for_each(|b| *b ^= 1 << bit);
            }
        }
    }
}

fn overwrite(at: usize, bytes: &[u8], file: &mut [u8]) {
    let len = bytes.len().min(file.len() - at);
    file[at..at + len].copy_from_slice(&bytes[..len]);
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    proptest::collection::vec(change(), 1..5)
}

#[test]
fn no_manifest_breaks_the_reader() {
    let (_dir, set) = local();
    let json = std::fs::read(set.join(MANIFEST)).unwrap();
    let mut runner = TestRunner::new(ProptestConfig::with_cases(2000));
    runner
        .run(&(changes(), any::<Vec<u8>>()), |(changes, junk)| {
            let mut changed = json.clone();
            apply(&changes, &mut changed);
            fuzzed::manifest(&changed);
            fuzzed::manifest(&junk);
            Ok(())
        })
        .unwrap();
}

#[test]
fn no_shard_breaks_the_reader() {
    const CHILD: &str = "DEFUSION_TEST_IN_LITTLE_MEMORY";
    if std::env::var_os(CHILD).is_none() {
        // In a process of its own: an allocation beyond its address space ends it.
        let mut child = Command::new("sh");
        child.args(["-c", &format!("ulimit -v {MEMORY} && exec \"$0\" \"$@\"")]).arg(std::env::current_exe().unwrap());
        child.args(["--exact", "mutations::no_shard_breaks_the_reader", "--test-threads=1"]).env(CHILD, "1");
        let output = child.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let (dir, set) = local();
    let shard = std::fs::read(set.join("part-00000.parquet")).unwrap();
    fuzzed::shard(dir.path(), &shard, 2).unwrap();
    let mut runner = TestRunner::new(ProptestConfig::with_cases(2000));
    runner
        .run(&changes(), |changes| {
            let mut changed = shard.clone();
            apply(&changes, &mut changed);
            let _ = fuzzed::shard(dir.path(), &changed, 2);
            Ok(())
        })
        .unwrap();
}
