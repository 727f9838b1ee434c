//! What `--stats` and `--trace` tell of the rings is what was done, and a ring that stands still is told of.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::schema::assert_described;
use crate::support::fuse::{Call, Effect, Fuse};
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, noise};
use crate::support::{ENGINES, Ran, assert_equal, finish, program, run, scratch, sync_with};

tests![
    operations_add_up_to_what_was_done,
    a_run_with_nothing_to_do_writes_nothing,
    the_table_has_the_same_figures,
    flushes_are_counted,
    a_check_has_figures_too,
    nothing_is_told_of_rings_unless_asked_for,
    a_trace_has_every_entry_and_byte,
    a_trace_that_was_interrupted_is_whole,
    a_trace_that_can_not_be_written_is_an_error,
    tasks_are_added_while_others_wait: [Need::Fuse, Need::Uring],
    rings_join_while_others_wait: [Need::Fuse, Need::Uring],
    pieces_are_long_where_a_program_gives_them: [Need::Fuse],
    pieces_stay_where_each_read_has_a_time_limit: [Need::Fuse, Need::Tool("prlimit")],
    a_ring_that_stands_still_is_told_of: [Need::Fuse],
    a_slow_reporter_is_no_stall,
];

const FILES: u64 = 300;
const LARGE: u64 = 20 << 20;

/// Small files, some that take several reads, and one that is cut in parts. Returns the bytes of all.
fn build(root: &Path) -> u64 {
    let mut bytes = LARGE;
    for index in 0..FILES {
        let size = if index % 10 == 0 { 300_000 } else { 3000 + index as usize };
        file(root.join(format!("d{}/file{index}", index % 7)), noise(index, size));
        bytes += size as u64;
    }
    file(root.join("large"), noise(1, LARGE as usize));
    bytes
}

fn rings(ran: &Ran) -> Vec<Value> {
    ran.summary()["rings"].as_array().expect("figures of rings").clone()
}

/// Operations of a kind by any of these means: how many, and their bytes.
fn operations(rings: &[Value], kind: &str, means: &[&str]) -> (u64, u64) {
    let all = rings.iter().flat_map(|ring| ring["operations"].as_array().unwrap());
    let wanted = all.filter(|of| of["kind"] == kind && means.contains(&of["means"].as_str().unwrap()));
    wanted.fold((0, 0), |(count, bytes), of| {
        (count + of["count"].as_u64().unwrap(), bytes + of["bytes"].as_u64().unwrap())
    })
}

const ANY: [&str; 3] = ["ring", "in_place", "thread"];

fn operations_add_up_to_what_was_done() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        let bytes = build(&source);
        // In memory nothing waits, but a flush goes through the ring wherever the file lies.
        let ran = sync_with(engine, &["--json", "--stats", "--fsync"], &source, &destination).exits(0);
        assert_described(&ran, &[]);
        let rings = rings(&ran);
        let threads = ran.json()[0]["threads"].as_u64().unwrap();
        let most = if engine == "uring" { 2 * threads } else { threads };
        assert!((threads..=most).contains(&(rings.len() as u64)), "some may have joined");
        let (reads, read) = operations(&rings, "read", &ANY);
        let (writes, written) = operations(&rings, "write", &ANY);
        assert_eq!((read, written), (bytes, bytes), "{rings:#?}");
        assert!(reads > FILES && writes > FILES);
        for kind in ["open", "create", "metadata"] {
            assert!(operations(&rings, kind, &ANY).0 > FILES, "{kind}: {rings:#?}");
        }
        let (flushes, flushed) = operations(&rings, "fsync", &ANY);
        assert!(flushes > FILES && flushed == 0, "{rings:#?}");
        let (handed_over, _) = ["open", "stat", "read", "write", "fsync"]
            .map(|kind| operations(&rings, kind, &["ring", "thread"]))
            .into_iter()
            .fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
        let in_flight: u64 =
            rings.iter().map(|ring| ring["in_flight"]["submissions"].as_u64().unwrap()).sum();
        assert_eq!(in_flight, handed_over);
        assert_eq!(operations(&rings, "fsync", &["ring"]).0 > FILES, engine == "uring", "{rings:#?}");
        rings.iter().for_each(|ring| assert_consistent(ring));
        assert!(rings.iter().any(|ring| ring["hashing"].as_f64().unwrap() > 0.0));
        assert!(rings.iter().any(|ring| ring["buffer_bytes_max"].as_u64().unwrap() >= 256 << 10));
    }
}

/// Requires that the figures of one ring fit each other.
#[track_caller]
fn assert_consistent(ring: &Value) {
    let share = |value: &Value| value.as_f64().unwrap();
    let stages: f64 = ring["stages"].as_object().unwrap().values().map(share).sum();
    assert!((stages - 1.0).abs() < 1e-6, "{ring:#?}");
    assert!((share(&ring["busy"]) + share(&ring["waiting"]) - 1.0).abs() < 1e-6, "{ring:#?}");
    assert!(share(&ring["hashing"]) <= share(&ring["busy"]), "{ring:#?}");
    for of in ring["operations"].as_array().unwrap() {
        let [p50, p99, max] = ["p50_us", "p99_us", "max_us"].map(|name| share(&of[name]));
        assert!(0.0 < p50 && p50 <= p99 && p99 <= max, "{of:#?}");
        let (count, timed) = (of["count"].as_u64().unwrap(), of["timed"].as_u64().unwrap());
        let wanted = if of["means"] == "in_place" { count.div_ceil(8) } else { count };
        assert_eq!(timed, wanted, "{of:#?}");
    }
    let in_flight = &ring["in_flight"];
    let buckets = in_flight["histogram"].as_array().unwrap();
    let counted: u64 = buckets.iter().map(|bucket| bucket["count"].as_u64().unwrap()).sum();
    assert_eq!(counted, in_flight["submissions"].as_u64().unwrap());
    assert!(share(&in_flight["mean"]) <= in_flight["max"].as_f64().unwrap());
    assert!(ring["buffer_bytes_max"].as_u64().unwrap() <= 12 << 20, "the budget of buffers");
}

fn a_run_with_nothing_to_do_writes_nothing() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        build(&source);
        sync_with(engine, &[], &source, &destination).exits(0);
        let rings = rings(&sync_with(engine, &["--json", "--stats"], &source, &destination).exits(0));
        for kind in ["read", "write", "create", "name", "fsync"] {
            assert_eq!(operations(&rings, kind, &ANY), (0, 0), "{kind}: {rings:#?}");
        }
        let (stats, _) = operations(&rings, "stat", &ANY);
        assert!((2 * FILES..4 * FILES).contains(&stats), "one on each side: {stats}");
        rings.iter().for_each(|ring| assert_consistent(ring));
        assert!(rings.iter().all(|ring| ring["hashing"] == 0.0 && ring["buffer_bytes_max"] == 0));
    }
}

fn the_table_has_the_same_figures() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        let bytes = build(&source);
        let ran = sync_with(engine, &["--stats"], &source, &destination).exits(0);
        let column = |kind: &str, column: usize| -> u64 {
            let rows = ran.out.lines().filter_map(|line| {
                let (name, figures) = line.strip_prefix("  ")?.split_at_checked(21)?;
                (name.trim().split(',').next() == Some(kind))
                    .then(|| figures.split_whitespace().nth(column).unwrap().parse::<u64>().unwrap())
            });
            rows.sum()
        };
        assert_eq!((column("read", 1), column("write", 1)), (bytes, bytes), "{}", ran.out);
        assert!(column("create", 0) > FILES && column("open", 0) > FILES, "{}", ran.out);
        assert_eq!(ran.out.lines().filter(|line| line.starts_with("held back by ")).count(), 1);
        let rings = ran.out.lines().filter(|line| line.starts_with("ring ")).count();
        let jobs = ringsync::default_jobs();
        let expected = if engine == "threads" { 16..=16 } else { jobs..=2 * jobs };
        assert!(expected.contains(&rings), "{}", ran.out);
    }
}

fn flushes_are_counted() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        build(&source);
        let ran = sync_with(engine, &["--json", "--stats", "--fsync"], &source, &destination).exits(0);
        let means = if engine == "uring" { "ring" } else { "in_place" };
        let flushes = operations(&rings(&ran), "fsync", &[means]).0;
        assert!(flushes > FILES, "one a file, and those of directories: {flushes}");
        assert_eq!(operations(&rings(&ran), "fsync", &ANY).0, flushes + 1, "and that of all");
    }
}

fn a_check_has_figures_too() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    let bytes = build(&source);
    sync_with("auto", &[], &source, &destination).exits(0);
    let mut command = Command::new(program());
    command.args(["check", "-c", "--json", "--stats"]).arg(&source).arg(&destination);
    let ran = crate::support::run(command).exits(0);
    assert_described(&ran, &[]);
    assert_eq!(operations(&rings(&ran), "read", &ANY).1, 2 * bytes, "on both sides");
    assert_eq!(operations(&rings(&ran), "write", &ANY), (0, 0));
}

fn nothing_is_told_of_rings_unless_asked_for() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    build(&source);
    let ran = sync_with("auto", &["--json"], &source, &destination).exits(0);
    assert!(ran.summary().get("rings").is_none() && ran.summary().get("held_back").is_none());
}

/// The events of a trace, all of which it must be possible to read.
#[track_caller]
fn events(path: &Path) -> Vec<Value> {
    serde_json::from_slice(&fs::read(path).unwrap()).expect("an array of JSON")
}

/// A span: its name, when it begins and ends in nanoseconds, and the rest.
struct Span<'a> {
    name: &'a str,
    begin: u64,
    end: u64,
    event: &'a Value,
}

/// All spans by their track, after it was made sure that on each of them they are apart or one within the other, and
/// operations apart.
#[track_caller]
fn tracks(events: &[Value]) -> BTreeMap<(u64, u64), Vec<Span<'_>>> {
    let mut tracks: BTreeMap<_, Vec<Span<'_>>> = BTreeMap::new();
    let nanoseconds = |value: &Value| (value.as_f64().unwrap() * 1000.0).round() as u64;
    for event in events.iter().filter(|event| event["ph"] == "X") {
        let begin = nanoseconds(&event["ts"]);
        let end = begin + nanoseconds(&event["dur"]);
        let track = (event["pid"].as_u64().unwrap(), event["tid"].as_u64().unwrap());
        let name = event["name"].as_str().unwrap();
        tracks.entry(track).or_default().push(Span { name, begin, end, event });
    }
    for (track, spans) in &mut tracks {
        spans.sort_by_key(|span| (span.begin, std::cmp::Reverse(span.end)));
        let mut open: Vec<u64> = Vec::new();
        for Span { name, begin, end, .. } in spans.iter() {
            while open.last().is_some_and(|last| last <= begin) {
                open.pop();
            }
            assert!(open.last().is_none_or(|last| end <= last), "{track:?}: {name} outlasts what it is in");
            open.push(*end);
        }
        let operations = spans.iter().filter(|span| span.event["cat"] == "operation");
        for (one, next) in operations.clone().zip(operations.skip(1)) {
            assert!(one.end <= next.begin, "{track:?}: {} and {} at the same time", one.name, next.name);
        }
        let named = |event: &Value| {
            event["ph"] == "M"
                && event["name"] == "thread_name"
                && (event["pid"].as_u64(), event["tid"].as_u64()) == (Some(track.0), Some(track.1))
        };
        assert_eq!(events.iter().filter(|event| named(event)).count(), 1, "{track:?} has a name");
    }
    tracks
}

/// The bytes of all operations of this name.
fn traced_bytes(events: &[Value], name: &str) -> u64 {
    let of = events.iter().filter(|event| event["cat"] == "operation" && event["name"] == name);
    of.map(|event| event["args"]["bytes"].as_u64().unwrap()).sum()
}

fn a_trace_has_every_entry_and_byte() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        let mut bytes = build(&source);
        let odd = [&b"a \"quote\", a \\ and a \n line"[..], b"caf\xe9", "grün".as_bytes()];
        for (index, name) in odd.iter().enumerate() {
            file(source.join(OsStr::from_bytes(name)), noise(7, 12_340 + index));
            bytes += 12_340 + index as u64;
        }
        let trace = home.path().join("trace.json");
        let option = format!("--trace={}", trace.display());
        let ran = sync_with(engine, &[&option], &source, &destination).exits(0);
        assert!(!ran.out.contains("held back"), "no figures, unless asked for: {}", ran.out);
        assert_equal(&source, &destination);
        let events = events(&trace);
        assert_eq!((traced_bytes(&events, "read"), traced_bytes(&events, "write")), (bytes, bytes));
        let tracks = tracks(&events);
        let is_entry = |span: &&Span<'_>| span.event["args"]["step"] == "entry";
        let entries: HashMap<&str, (&(u64, u64), &Span<'_>)> = tracks
            .iter()
            .flat_map(|(track, spans)| {
                spans.iter().filter(is_entry).map(move |span| (span.name, (track, span)))
            })
            .collect();
        assert_eq!(entries.len() as u64, FILES + 4);
        assert_eq!(entries["caf\u{fffd}"].1.event["args"]["path_bytes"], "Y2Fm6Q==");
        for (index, name) in ["a \"quote\", a \\ and a \n line", "caf\u{fffd}", "grün"].iter().enumerate() {
            let (track, entry) = entries[name];
            for operation in ["read", "write"] {
                let within = tracks[track].iter().filter(|span| {
                    span.name == operation && entry.begin <= span.begin && span.end <= entry.end
                });
                let bytes: u64 = within.map(|span| span.event["args"]["bytes"].as_u64().unwrap()).sum();
                assert_eq!(bytes, 12_340 + index as u64, "{operation} of {name} on its own track");
            }
        }
    }
}

/// The rate makes sure that the signal comes before the end.
fn a_trace_that_was_interrupted_is_whole() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        // Each has one of the four turns that this rate allows; the small ones take the fourth, and are told of while the
        // others are at work in the same ring.
        (0..3).for_each(|index| file(source.join(format!("large{index}")), noise(index, 30 << 20)));
        (0..4).for_each(|index| file(source.join(format!("small/{index}")), "x"));
        let trace = home.path().join("trace.json");
        let mut command = Command::new(program());
        command
            .args(["sync", "-j1", "--json", "--stats", "--bwlimit=4M", "--engine", engine, "--trace"])
            .arg(&trace);
        command.arg(&source).arg(&destination);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains(r#""event":"file""#) {
            line.clear();
            assert_ne!(out.read_line(&mut line).unwrap(), 0, "it ended");
        }
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let rest = std::thread::spawn(move || out.lines().map_while(Result::ok).last());
        assert_eq!(finish(child, Duration::from_secs(20)).code, Some(20));
        let summary: Value = serde_json::from_str(&rest.join().unwrap().unwrap()).unwrap();
        let events = events(&trace);
        tracks(&events);
        let told = operations(summary["rings"].as_array().unwrap(), "read", &ANY).1;
        assert_eq!(traced_bytes(&events, "read"), told, "{summary:#}");
        assert!((1..60 << 20).contains(&told), "it was under way: {told}");
    }
}

fn a_trace_that_can_not_be_written_is_an_error() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    build(&source);
    let nowhere = format!("--trace={}", home.path().join("no/where").display());
    let ran = sync_with("auto", &[&nowhere], &source, &destination).exits(3);
    assert!(ran.err.contains("use trace file") && !destination.exists(), "{ran:?}");
    let ran = sync_with("auto", &["--trace=/dev/full"], &source, &destination).exits(23);
    assert_eq!(ran.err, "ringsync: use trace file /dev/full: No space left on device (os error 28)\n");
    assert_equal(&source, &destination);
}

/// Files in memory keep nobody waiting; a program's take their time, and meanwhile other tasks have their turn.
fn tasks_are_added_while_others_wait() {
    if !ENGINES.contains(&"uring") {
        return;
    }
    let (fuse, home) = (Fuse::new(), scratch());
    for (source, expected) in [(home.path().join("src"), 1..=2), (fuse.path().join("src"), 3..=8)] {
        (0..400).for_each(|index| file(source.join(format!("d{}/{index}", index % 50)), noise(index, 3000)));
        let (destination, trace) = (home.path().join("dst"), home.path().join("trace.json"));
        let option = format!("--trace={}", trace.display());
        sync_with("uring", &["-j1", "--depth=8", &option], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        fs::remove_dir_all(&destination).unwrap();
        let events = events(&trace);
        let at_work = |spans: &&Vec<Span<'_>>| spans.iter().any(|span| span.event["args"]["step"] == "entry");
        let tasks = tracks(&events).values().filter(at_work).count();
        assert!(expected.contains(&tasks), "{}: {tasks} tasks", source.display());
    }
}

/// One look-up in ten takes as long as a disk's, so that most are made in place: a ring that waits for one leaves its core
/// idle.
fn rings_join_while_others_wait() {
    let (fuse, home) = (Fuse::new(), scratch());
    let (source, destination) = (fuse.path().join("src"), home.path().join("dst"));
    for directory in 0..200 {
        file(source.join(format!("d{directory}/late")), "");
        (0..9).for_each(|index| file(source.join(format!("d{directory}/{index}")), ""));
    }
    sync_with("uring", &[], &source, &destination).exits(0);
    assert_equal(&source, &destination);
    let number = |options: &[&str]| {
        let options = [&["--json", "--stats"], options].concat();
        rings(&sync_with("uring", &options, &source, &destination).exits(0)).len()
    };
    fuse.spoil(Call::Getattr, "late", Effect::Late(Duration::from_millis(6)), usize::MAX);
    let jobs = ringsync::default_jobs();
    // On a busy machine the first rings may spend their time waiting for a processor instead.
    let join = (0..5).any(|_| (jobs + 1..=2 * jobs).contains(&number(&[])));
    assert!(join, "more than at the beginning");
    assert_eq!(number(&["--jobs=1"]), 1, "a flag fixes what it names");
    assert_eq!(number(&["--jobs=3"]), 3);
}

/// A read takes as long whatever its length: the fewer there are the better.
fn pieces_are_long_where_a_program_gives_them() {
    for &engine in ENGINES.iter() {
        let (fuse, home) = (Fuse::new(), scratch());
        let (source, sums) = (fuse.path().join("src"), home.path().join("sums"));
        file(source.join("large"), noise(1, 24 << 20));
        fuse.spoil(Call::Read, "large", Effect::Late(Duration::from_millis(6)), usize::MAX);
        let pieces = |options: &[&str]| {
            let destination = home.path().join(options.len().to_string());
            let manifest = format!("--manifest={}", sums.display());
            let all = [&["--json", "--stats", "--jobs=1", &manifest], options].concat();
            let rings = rings(&sync_with(engine, &all, &source, &destination).exits(0));
            assert_eq!(fs::read(source.join("large")).unwrap(), fs::read(destination.join("large")).unwrap());
            let sum = blake3::hash(&noise(1, 24 << 20));
            assert!(fs::read_to_string(&sums).unwrap().starts_with(sum.to_hex().as_str()));
            fs::remove_dir_all(destination).unwrap();
            let (reads, bytes) = operations(&rings, "read", &ANY);
            assert_eq!(bytes, 24 << 20);
            reads
        };
        assert_eq!(pieces(&[]), 24, "a mebibyte each");
        assert_eq!(pieces(&["--buffer-size=256K"]), 96, "a flag fixes what it names");
        assert_eq!(pieces(&["--buffer-size=4M"]), 6);
        assert_eq!(pieces(&["--buffer-size=64K"]), 384);
    }
}

/// One thread, since there are no descriptors for more, reads all of the file.
fn pieces_stay_where_each_read_has_a_time_limit() {
    let (fuse, home) = (Fuse::new(), scratch());
    let source = fuse.path().join("src");
    file(source.join("large"), noise(1, 24 << 20));
    fuse.spoil(Call::Read, "large", Effect::Late(Duration::from_millis(6)), usize::MAX);
    let reads = |options: &[&str]| {
        let mut command = Command::new("prlimit");
        command.arg("--nofile=40:40").arg(program()).args(["sync", "--json", "--stats", "--engine=threads"]);
        command.args(options).arg(&source).arg(home.path().join(options.len().to_string()));
        operations(&rings(&run(command).exits(0)), "read", &ANY).0
    };
    assert_eq!(reads(&[]), 24);
    assert_eq!(reads(&["--timeout=60"]), 96, "a longer read would sooner be given up");
}

/// One look-up is answered only once the warning has come.
fn a_ring_that_stands_still_is_told_of() {
    for &engine in ENGINES.iter() {
        let fuse = Fuse::new();
        let home = scratch();
        let (source, destination) = (fuse.path().join("src"), home.path().join("dst"));
        file(source.join("stuck"), "x");
        file(source.join("other"), "y");
        file(destination.join("stuck"), "older");
        fuse.spoil(Call::Getattr, "stuck", Effect::Stall, 1);
        let mut command = Command::new(program());
        command.args(["sync", "--engine", engine, "-j1"]).arg(&source).arg(&destination);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut messages = BufReader::new(child.stderr.take().unwrap());
        let mut warning = String::new();
        messages.read_line(&mut warning).unwrap();
        fuse.release();
        assert!(
            warning.starts_with("ringsync: ring ") && warning.contains(" has stood still for "),
            "{warning}"
        );
        assert!(warning.trim_end().ends_with(": stat source"), "{warning}");
        finish(child, Duration::from_secs(60)).exits(23);
        let mut rest = String::new();
        messages.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("stat source") && !rest.contains("stood still"), "once: {rest}");
        assert_eq!(fs::read(destination.join("other")).unwrap(), b"y", "the rest was done");
    }
}

/// The tasks wait for their turn to report, which is nobody's fault but the reader's.
fn a_slow_reporter_is_no_stall() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for index in 0..30_000 {
            file(source.join(format!("d{}/a-name-that-is-not-too-short-{index}", index % 50)), "x");
        }
        let mut command = Command::new(program());
        command.args(["sync", "--json", "--engine", engine]).arg(&source).arg(&destination);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut String::new()).unwrap();
        // The time that passes is what is tested; nothing is expected to happen in it.
        std::thread::sleep(Duration::from_secs(2));
        let rest = std::thread::spawn(move || out.lines().count());
        let ran = finish(child, Duration::from_secs(60));
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
        assert_eq!(rest.join().unwrap(), 30_000 + 51 + 1);
    }
}
