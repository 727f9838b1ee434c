//! `--timeout` where nothing is stuck: it changes nothing. Where something is: tests/it/fuse.rs.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::needs::tests;
use crate::support::tree::{file, mode, modified, noise, sparse};
use crate::support::{assert_equal, assert_no_litter, finish, program, run, scratch, sync_with};

tests![
    a_time_out_changes_nothing_of_a_mirror,
    a_reader_that_takes_its_time_is_not_timed_out,
    a_signal_to_the_supervisor_ends_the_run,
    a_ring_takes_no_time_out,
    the_exit_code_comes_through,
    a_child_whose_supervisor_has_ended_does_nothing,
];

fn build(root: &std::path::Path) {
    for index in 0..600 {
        let path = root.join(format!("d{}/e{}/file{index}", index % 7, index % 3));
        file(&path, noise(index, 3000));
        modified(&path, 1_000_000, index as i64);
    }
    file(root.join("large"), noise(1, 20 << 20));
    sparse(root.join("sparse"), 50 << 20, &[(30 << 20, b"data")]);
    fs::hard_link(root.join("large"), root.join("d1/link")).unwrap();
    std::os::unix::fs::symlink("nowhere", root.join("d2/symlink")).unwrap();
    mode(root.join("d3"), 0o2750);
    let mut deep = root.to_path_buf();
    (0..300).for_each(|level| deep.push(format!("level{level}")));
    file(deep.join("file"), "deep");
}

fn a_time_out_changes_nothing_of_a_mirror() {
    for options in [&["--timeout=20"][..], &["--timeout=20", "--fsync"], &["--timeout=20", "--partial"]] {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        build(&source);
        sync_with("auto", options, &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert_no_litter(&destination);
        file(source.join("d1/e1/new"), "new");
        sync_with("auto", options, &source, &destination).exits(0);
        assert_equal(&source, &destination);
        let again = sync_with("auto", &[options, &["--json"][..]].concat(), &source, &destination).exits(0);
        assert_eq!(again.json().len(), 2, "{}", again.out);
    }
}

/// Whoever reads the output stops for longer than the limit: the threads wait for that, and not for the kernel.
fn a_reader_that_takes_its_time_is_not_timed_out() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    for index in 0..30_000 {
        file(source.join(format!("d{}/a-name-that-is-not-too-short-{index}", index % 50)), "x");
    }
    let mut command = Command::new(program());
    command.args(["sync", "--json", "--timeout=1"]).arg(&source).arg(&destination);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut String::new()).unwrap();
    // The time that passes is what is tested; nothing is expected to happen in it.
    std::thread::sleep(Duration::from_secs(3));
    let rest = std::thread::spawn(move || out.lines().count());
    let ran = finish(child, Duration::from_secs(60));
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    assert_eq!(rest.join().unwrap(), 30_000 + 51 + 1, "all entries, and the summary");
    assert_equal(&source, &destination);
}

fn a_signal_to_the_supervisor_ends_the_run() {
    for signal in [Signal::TERM, Signal::INT] {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for index in 0..6000 {
            file(source.join(format!("d{}/file{index}", index % 30)), noise(index, 20_000));
        }
        let mut command = Command::new(program());
        command.args(["sync", "--json", "--timeout=20"]).arg(&source).arg(&destination);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut String::new()).unwrap();
        kill_process(Pid::from_child(&child), signal).unwrap();
        let rest = std::thread::spawn(move || out.lines().map_while(Result::ok).last());
        assert_eq!(finish(child, Duration::from_secs(20)).code, Some(20));
        assert!(rest.join().unwrap().unwrap().contains("\"interrupted\""));
        assert_no_litter(home.path());
    }
}

fn a_ring_takes_no_time_out() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("file"), "x");
    let ran = sync_with("uring", &["--timeout=5"], &source, &destination).exits(3);
    assert!(ran.err.contains("time-out"), "{}", ran.err);
    assert!(!destination.exists());
}

fn the_exit_code_comes_through() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("file"), "x");
    file(destination.join("file/full"), "in the way");
    sync_with("auto", &["--timeout=5"], &source, &destination).exits(23);
    sync_with("auto", &["--timeout=5"], &source.join("missing"), &destination).exits(3);
    let mut command = Command::new(program());
    command.args(["sync", "--timeout=0"]).arg(&source).arg(&destination);
    run(command).exits(1);
}

/// The supervisor was killed before its child could ask to end with it: nobody would see what that does.
fn a_child_whose_supervisor_has_ended_does_nothing() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("file"), "x");
    let mut ended = Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    let child = |supervisor: u32| {
        let mut command = Command::new(program());
        command.args(["sync", "--timeout=20"]).arg(&source).arg(&destination);
        command.env("RINGSYNC_SUPERVISED", "1").env("RINGSYNC_SUPERVISOR", supervisor.to_string());
        run(command)
    };
    child(ended.id()).exits(20);
    assert!(!destination.exists());
    child(std::process::id()).exits(0);
    assert_equal(&source, &destination);
}
