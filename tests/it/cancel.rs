//! Signals: what is in flight is finished or discarded whole, and the program is gone within two seconds.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::needs::tests;
use crate::support::tree::{file, noise, snapshot, sparse};
use crate::support::{ENGINES, assert_equal, assert_no_litter, finish, program, scratch, sync_with};

tests![
    a_signal_ends_the_run_with_whole_files,
    a_hang_up_is_ignored_under_nohup,
    a_large_file_is_discarded_whole,
    a_second_signal_ends_at_once,
    a_stuck_output_does_not_hold_up_the_end,
];

fn start(engine: &str, options: &[&str], source: &Path, destination: &Path) -> Child {
    // The tests themselves may run under nohup(1), which the program would obey.
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP").arg(program());
    command.args(["sync", "--json", "--engine", engine]).args(options).arg(source).arg(destination);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

fn a_signal_ends_the_run_with_whole_files() {
    let home = scratch();
    let source = home.path().join("src");
    for index in 0..6000 {
        file(source.join(format!("d{}/file{index}", index % 30)), noise(index, 20_000));
    }
    let kinds = [Signal::INT, Signal::TERM, Signal::HUP];
    for (&engine, kind) in ENGINES.iter().flat_map(|engine| kinds.map(|kind| (engine, kind))) {
        let destination = home.path().join(format!("{engine} {kind:?}"));
        // With this rate it lasts for many seconds, if nothing ends it.
        let mut child = start(engine, &["--bwlimit=4M"], &source, &destination);
        // The first line comes before the first file; from then on the run is under way.
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut String::new()).unwrap();
        signal(&child, kind);
        let rest = std::thread::spawn(move || out.lines().map_while(Result::ok).last());
        // Far from two seconds, whatever else the machine does.
        let ran = finish(child, Duration::from_secs(10));
        assert_eq!(ran.code, Some(20), "{ran:?}");
        let summary: serde_json::Value = serde_json::from_str(&rest.join().unwrap().unwrap()).unwrap();
        assert_eq!(
            (summary["event"].as_str(), summary["outcome"].as_str()),
            (Some("summary"), Some("interrupted"))
        );
        if destination.exists() {
            let (from, to) = (snapshot(&source), snapshot(&destination));
            assert_no_litter(&destination);
            assert!(
                to.iter()
                    .filter(|(_, node)| node.kind == "file")
                    .all(|(path, node)| from.get(path) == Some(node))
            );
        }
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_equal(&source, &destination);
    }
}

fn a_hang_up_is_ignored_under_nohup() {
    let home = scratch();
    let source = home.path().join("src");
    for index in 0..3000 {
        file(source.join(format!("d{}/file{index}", index % 30)), noise(index, 2000));
    }
    let ways = ENGINES.iter().map(|engine| format!("--engine={engine}"));
    // A run with a time-out has a supervisor, and takes the engine of threads.
    for option in ways.chain(["--timeout=20".into()]) {
        let destination = home.path().join(&option);
        let line = format!("trap '' HUP; exec \"$0\" sync --json {option} \"$1\" \"$2\"");
        let mut command = Command::new("sh");
        command.args(["-c", &line]).arg(program()).arg(&source).arg(&destination);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut String::new()).unwrap();
        signal(&child, Signal::HUP);
        let rest = std::thread::spawn(move || out.lines().map_while(Result::ok).last());
        finish(child, Duration::from_secs(60)).exits(0);
        assert!(rest.join().unwrap().unwrap().contains("\"done\""));
        assert_equal(&source, &destination);
    }
}

fn a_large_file_is_discarded_whole() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        std::fs::create_dir(&source).unwrap();
        // Nearly all of it must be read, but little memory is needed to hold it.
        let piece = [7_u8; 4096];
        let data: Vec<(u64, &[u8])> = (0..40_000).map(|at| (at * 8192, &piece[..])).collect();
        sparse(source.join("large"), 40_000 * 8192, &data);
        file(destination.join("large"), "old");
        let mut child = start(engine, &[], &source, &destination);
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut String::new()).unwrap();
        signal(&child, Signal::INT);
        drop(std::thread::spawn(move || out.lines().count()));
        let ran = finish(child, Duration::from_secs(20));
        assert_no_litter(&destination);
        match ran.code {
            Some(20) => assert_eq!(std::fs::read(destination.join("large")).unwrap(), b"old"),
            code => assert_eq!(code, Some(0), "{ran:?}"), // it was quicker than the signal
        }
    }
}

fn a_second_signal_ends_at_once() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    for index in 0..3000 {
        file(source.join(format!("d{}/file{index}", index % 30)), noise(index, 20_000));
    }
    let mut child = start("auto", &[], &source, &destination);
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut String::new()).unwrap();
    // Nobody reads on, so that the run can't end by itself; the second signal must do without it.
    signal(&child, Signal::INT);
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(20), "two signals and still there");
        signal(&child, Signal::INT);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(child.wait().unwrap().code(), Some(20));
    drop(out);
    sync_with("auto", &[], &source, &destination).exits(0);
    assert_equal(&source, &destination);
    assert_no_litter(&destination);
}

/// Nobody reads what the run has to say, and so it can't end by itself.
fn a_stuck_output_does_not_hold_up_the_end() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    for index in 0..5000 {
        file(source.join(format!("d{}/{index}-{}", index % 30, "n".repeat(200))), "x");
    }
    let mut child = start("auto", &[], &source, &destination);
    let mut out = BufReader::with_capacity(1, child.stdout.take().unwrap());
    out.read_line(&mut String::new()).unwrap();
    signal(&child, Signal::INT);
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(20), "one signal and still there");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(child.wait().unwrap().code(), Some(20));
    drop(out);
}
