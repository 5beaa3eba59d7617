//! Hangs, deaths, requests to stop, restarts: whatever happens, the exit code says what, and nothing stays behind.

use crate::launch::{eventually, runs, send, value, worker};
use nix::sys::signal::Signal;

#[test]
fn a_hung_worker_is_killed_and_named() {
    let launch = worker("tell beat:tokenizer:0 beat:tokenizer:41 hang")
        .set("cluster.hang_timeout_s=1")
        .set("cluster.first_step_timeout_s=60");
    let ended = launch.run().expect(3).says(&["worker hung: no heartbeat for 1 s (phase tokenizer, step 41)", "rank "]);
    for line in ended.out.lines().filter(|l| l.contains("pid=")) {
        let pid = value(line, "pid").parse().unwrap();
        eventually(|| !runs(pid), || format!("the end of worker {pid}"));
    }
}

#[test]
fn until_the_first_step_a_worker_has_more_time() {
    let launch = worker("beat:tokenizer:0 sleep:2500 beat:tokenizer:1")
        .set("cluster.hang_timeout_s=1")
        .set("cluster.first_step_timeout_s=60");
    launch.run().expect(0);
}

#[test]
fn a_worker_that_dies_of_a_signal_is_named_with_it() {
    for (number, name) in [(6, "SIGABRT"), (9, "SIGKILL"), (11, "SIGSEGV")] {
        let script = format!("beat:diffusion:7 only:1 die:{number}");
        let ended = worker(&script).run().expect(1);
        ended.says(&[&format!("worker was ended by {name} (phase diffusion, step 7)"), "rank 1 on "]);
    }
}

#[test]
fn under_a_bare_mpirun_the_rank_itself_says_what_happened() {
    let ended = worker("beat:diffusion:7 only:1 die:6").ranks(2, &[]).run().expect(1);
    ended.says(&["[1] defusion-launch: rank 1 on ", "SIGABRT (phase diffusion, step 7)"]);
}

#[test]
fn a_failed_run_is_restarted_and_finishes() {
    let launch = worker("beat:tokenizer:3 only:0 once:FOLDER/failed exit:1").set("cluster.max_restarts=2");
    // On the second run rank 1 must not wait for a signal, so it is rank 0 alone.
    let launch = launch.set("cluster.workers_per_node=1");
    let ended = launch.run().expect(0).says(&["restart 1 of 2", "finished"]);
    assert_eq!(ended.times("mpirun -n"), 2, "{}", ended.err);
}

#[test]
fn restarts_are_bounded() {
    let launch = worker("beat:tokenizer:3 exit:1").set("cluster.max_restarts=2");
    let ended = launch.run().expect(1).says(&["2 restarts in a row brought no further checkpoint"]);
    assert_eq!(ended.times("mpirun -n"), 3, "{}", ended.err);
}

#[test]
fn what_would_fail_alike_is_not_restarted_and_keeps_its_exit_code() {
    for code in [2, 4] {
        let launch = worker(&format!("beat:tokenizer:3 exit:{code}")).set("cluster.max_restarts=2");
        let ended = launch.run().expect(code).says(&["not restarted"]);
        assert_eq!(ended.times("mpirun -n"), 1, "{}", ended.err);
    }
}

#[test]
fn a_request_to_stop_reaches_every_worker_and_is_no_failure() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let running = worker("tell stop").set("cluster.max_restarts=2").start();
        running.await_lines("pid=", 2);
        running.signal(signal);
        let ended = running.end().expect(0).says(&["the same command resumes"]);
        assert_eq!(ended.times("mpirun -n"), 1, "{}", ended.err);
    }
}

#[test]
fn what_mpirun_passes_on_stops_a_bare_run_with_surplus_ranks() {
    for signal in [Signal::SIGUSR1, Signal::SIGUSR2] {
        let running = worker("mpi tell await").ranks(4, &[]).start();
        running.await_lines("pid=", 2);
        running.signal(signal);
        running.end().expect(0);
    }
}

#[test]
fn a_bare_mpirun_that_is_asked_to_end_waits_until_the_workers_have_left() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        // Longer than the two seconds that mpirun gives.
        let launch = worker("deaf tell await sleep:5000 once:FOLDER/saved beat:done:0");
        let saved = launch.file("saved");
        let running = launch.ranks(2, &[]).start();
        let lines = running.await_lines("pid=", 2);
        running.signal(signal);
        eventually(|| saved.exists(), || format!("what the worker saves after {signal}"));
        running.end();
        all_end(&lines);
    }
}

#[test]
fn a_bare_mpirun_whose_worker_does_not_leave_waits_no_longer_than_its_grace() {
    let running = worker("deaf tell hang").set("cluster.stop_grace_s=3").ranks(2, &[]).start();
    let lines = running.await_lines("pid=", 2);
    running.signal(Signal::SIGTERM);
    running.end();
    all_end(&lines);
}

#[test]
fn a_bare_mpirun_whose_rank_has_failed_is_not_held() {
    // Rank 1 fails at once; rank 0 is deaf, and would keep mpirun for a day.
    let launch = worker("deaf tell only:1 exit:1").set("cluster.stop_grace_s=86400").ranks(2, &[]);
    launch.run().expect(1);
}

#[test]
fn a_worker_deaf_to_sigterm_is_killed_after_its_grace() {
    let running = worker("deaf tell hang").set("cluster.stop_grace_s=1").start();
    let lines = running.await_lines("pid=", 2);
    running.signal(Signal::SIGTERM);
    running.end().expect(1).says(&["worker did not stop within 1 s"]);
    all_end(&lines);
}

#[test]
fn no_worker_outlives_a_killed_job() {
    let running = worker("deaf tell hang").start();
    let lines = running.await_lines("pid=", 2);
    running.signal(Signal::SIGKILL);
    all_end(&lines);
}

#[test]
fn no_worker_outlives_a_killed_mpirun() {
    let running = worker("deaf tell hang").ranks(2, &[]).start();
    let lines = running.await_lines("pid=", 2);
    running.signal(Signal::SIGKILL);
    all_end(&lines);
}

#[test]
fn no_worker_outlives_its_killed_parent_and_the_job_ends() {
    let running = worker("deaf tell hang").start();
    let lines = running.await_lines("pid=", 2);
    let parent = lines.iter().find(|l| l.contains("rank=1")).map(|l| value(l, "parent")).expect("rank 1");
    send(parent.parse().unwrap(), Signal::SIGKILL);
    running.end().expect(1);
    all_end(&lines);
}

/// Fails unless the workers that told these lines, and their parents, end.
fn all_end(lines: &[String]) {
    for name in ["pid", "parent"] {
        for line in lines {
            let pid = value(line, name).parse().unwrap();
            eventually(|| !runs(pid), || format!("the end of {name} {pid}: {line}"));
        }
    }
}
