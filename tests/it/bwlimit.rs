//! `--bwlimit`: no more is read than allowed, all is copied, and a signal is not kept waiting. Rates are measured from
//! below only: that a run takes as long as it has to is no matter of luck.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::needs::tests;
use crate::support::tree::{file, noise, sparse};
use crate::support::{ENGINES, assert_equal, assert_no_litter, finish, program, scratch, sync_with};

tests![
    no_more_is_read_than_allowed,
    what_is_there_already_costs_nothing,
    waiting_is_no_hanging,
    a_signal_ends_the_waiting,
    zero_is_no_limit_and_nonsense_is_refused,
];

/// Runs a sync and requires that it took as long as `bytes` take at `rate`, less what a pause may be made up for.
#[track_caller]
fn takes_its_time(engine: &str, options: &[&str], rate: f64, bytes: f64, trees: (&Path, &Path)) {
    let ran = sync_with(engine, &[&["--json"], options].concat(), trees.0, trees.1).exits(0);
    let summary = ran.summary();
    let (seconds, copied) = (summary["seconds"].as_f64().unwrap(), summary["bytes"].as_f64().unwrap());
    assert!(seconds >= bytes / rate - 0.1, "{options:?}: {bytes} bytes in {seconds} s");
    assert!(copied >= bytes, "{ran:?}");
    assert_equal(trees.0, trees.1);
}

fn no_more_is_read_than_allowed() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for index in 0..300 {
            file(source.join(format!("d{}/file{index}", index % 7)), noise(index, 4000));
        }
        file(source.join("middling"), noise(1, 1 << 20));
        file(source.join("large"), noise(2, 9 << 20));
        sparse(source.join("holes"), 20 << 20, &[(9 << 20, &noise(3, 1 << 20))]);
        let all = 300.0 * 4000.0 + 11.0 * 1_048_576.0;
        let trees = (source.as_path(), destination.as_path());
        takes_its_time(engine, &["--bwlimit", "10M", "--reflink=never"], 10_485_760.0, all, trees);
        // Rewritten in place both sides are read, and the source's counts.
        file(destination.join("large"), noise(9, 9 << 20));
        let rate = ["--bwlimit=20MB", "--inplace", "--partial"];
        takes_its_time(engine, &rate, 20e6, 9.0 * 1_048_576.0, trees);
    }
}

fn what_is_there_already_costs_nothing() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("file"), noise(1, 1 << 20));
        sync_with(engine, &[], &source, &destination).exits(0);
        // A byte a second: twelve days, if any of this were counted.
        for options in [&[][..], &["-c"], &["-n"]] {
            let options = [options, &["--bwlimit=1B"]].concat();
            sync_with(engine, &options, &source, &destination).exits(0);
        }
    }
}

/// With `--timeout` what makes no progress is given up. To wait for one's turn is not that.
fn waiting_is_no_hanging() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    for index in 0..10 {
        file(source.join(format!("file{index}")), noise(index, 4096));
    }
    let trees = (source.as_path(), destination.as_path());
    takes_its_time("threads", &["--timeout=1", "--bwlimit=10"], 10240.0, 40960.0, trees);
}

fn a_signal_ends_the_waiting() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for index in 0..10 {
            file(source.join(format!("file{index}")), noise(index, 100_000));
        }
        file(source.join("large"), noise(1, 9 << 20));
        let mut command = Command::new(program());
        command.args(["sync", "--json", "--bwlimit=1B", "--engine", engine]).arg(&source).arg(&destination);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut String::new()).unwrap();
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let begun = Instant::now();
        let rest = std::thread::spawn(move || out.lines().map_while(Result::ok).last());
        finish(child, Duration::from_secs(60)).exits(20);
        assert!(begun.elapsed() < Duration::from_secs(30), "the first piece alone takes an hour");
        let summary: serde_json::Value = serde_json::from_str(&rest.join().unwrap().unwrap()).unwrap();
        assert_eq!(summary["outcome"], "interrupted");
        assert_no_litter(home.path());
    }
}

fn zero_is_no_limit_and_nonsense_is_refused() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("file"), noise(1, 100_000));
    for (rate, code) in [("0", 0), ("0K", 0), ("12X", 1), ("fast", 1), ("-1", 1), ("0.001B", 1)] {
        sync_with("auto", &[&format!("--bwlimit={rate}")], &source, &destination).exits(code);
    }
}
