//! One suite for every kind of store: memory, local disk, and a real S3 server.

mod conditional;
mod faults;
mod local;
mod names;
mod objects;

use std::process::Command;

use defusion_storage::testing::ObjectStorage;
use defusion_storage::{Store, join};

/// A part of the suite, which gets a folder of its own.
type Case = fn(&Store);

/// What every store must do.
const SUITE: [(&str, Case); 15] = [
    ("objects", objects::are_read_as_they_were_written),
    ("limits", objects::larger_than_the_limit_are_not_read),
    ("ranges", objects::are_read_in_ranges_and_pieces),
    ("large", objects::large_ones_go_and_come_in_parts),
    ("verified", objects::verified_ones_have_their_digest),
    ("lists", objects::are_listed_with_their_sizes),
    ("many", objects::more_than_a_page_is_listed),
    ("deleted", objects::deleting_twice_is_no_error),
    ("missing", objects::missing_ones_are_named),
    ("create", conditional::of_many_that_create_one_wins),
    ("replace", conditional::only_what_was_read_is_replaced),
    ("names", names::are_kept_as_they_are),
    ("folders", names::of_folders_are_kept_as_they_are),
    ("refused", names::that_lead_elsewhere_are_refused),
    ("runtime", objects::are_reached_from_a_runtimes_threads),
];

/// Runs the suite over the store at `url`.
fn run(url: &str) {
    for (name, case) in SUITE {
        println!("{url}: {name}");
        case(&Store::create(&join(url, name)).unwrap());
    }
}

#[test]
fn memory() {
    run("memory://suite/some/folder");
}

#[test]
fn local_disk() {
    let dir = tempfile::tempdir().unwrap();
    run(&dir.path().join("not/there/yet").display().to_string());
    run(&format!("file://{}/by%20url", dir.path().display()));
}

/// The server's address and credentials reach a store through the environment alone, so a second process runs the suite.
#[test]
#[ignore = "starts SeaweedFS, whose binary DEFUSION_WEED names"]
fn service_s3() {
    const BUCKET: &str = "suite";
    let url = format!("s3://{BUCKET}/some/folder");
    if std::env::var_os("AWS_ENDPOINT").is_some() {
        return run(&url);
    }
    let server = ObjectStorage::start(BUCKET);
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "service_s3", "--ignored", "--nocapture"]);
    assert!(server.tell(&mut again).status().unwrap().success());

    // Another secret is refused, and printed nowhere.
    let mut wrong = Command::new(std::env::current_exe().unwrap());
    wrong.args(["--exact", "service_wrong_secret", "--ignored", "--nocapture"]);
    let output = server.tell(&mut wrong).env("AWS_SECRET_ACCESS_KEY", "another-SECRET").output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && !text.contains("SECRET"), "{text}");
}

/// Only means something in the process that [`service_s3`] starts.
#[test]
#[ignore = "is started by service_s3"]
fn service_wrong_secret() {
    if std::env::var_os("AWS_ENDPOINT").is_some() {
        faults::a_wrong_secret_is_not_shown("s3://suite/some/folder");
    }
}
