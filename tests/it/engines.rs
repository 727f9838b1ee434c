//! The two engines, hashes, clones, and what happens where io_uring is forbidden.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use seccompiler::{SeccompAction, SeccompFilter};
use serde_json::Value;

use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, noise, sparse};
use crate::support::user::{give_tree, user};
use crate::support::{ENGINES, Ran, assert_equal, program, run, scratch, sync_with, tool};

tests![
    hashes_are_those_of_b3sum: [Need::Tool("b3sum")],
    no_hash_means_no_hash,
    many_large_files_at_once_come_through,
    few_tasks_are_enough,
    without_io_uring_auto_uses_threads,
    without_io_uring_the_ring_engine_says_why,
    the_ring_engine_runs: [Need::Uring],
    clones_share_extents_on_xfs: [Need::FileSystem("xfs"), Need::Tool("filefrag")],
    always_cloning_fails_where_it_cannot_be_done,
    without_openat2_the_threads_still_run,
    rings_that_can_not_be_had_cost_no_run: [Need::Root, Need::Uring, Need::Tool("setpriv"), Need::Tool("prlimit")],
    workers_that_can_not_be_had_cost_no_run: [Need::Root, Need::Uring, Need::Tool("setpriv"), Need::Tool("prlimit")],
];

fn hashes_are_those_of_b3sum() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for size in [0, 1, 1024, 65_536, 65_537, 1 << 20, 8 << 20, (8 << 20) + 1, (12 << 20) - 1, 33 << 20] {
            file(source.join(format!("f{size}")), noise(size as u64, size));
        }
        sparse(source.join("sparse small"), 3 << 20, &[(1 << 20, &noise(1, 100_000))]);
        sparse(
            source.join("sparse large"),
            30 << 20,
            &[((4 << 20) - 9, &noise(2, 100_000)), (29 << 20, b"!")],
        );
        let ran = sync_with(engine, &["--json", "--reflink", "never"], &source, &destination).exits(0);
        let mut hashed = 0;
        for line in ran.json().iter().filter(|line| line["type"] == "file") {
            let name = line["path"].as_str().unwrap();
            let printed = tool("b3sum", &["--no-names", destination.join(name).to_str().unwrap()]);
            assert_eq!(line["blake3"].as_str(), Some(printed.trim()), "{name} on {engine}");
            hashed += 1;
        }
        assert_eq!(hashed, 12);
    }
}

fn no_hash_means_no_hash() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("small"), "x");
        file(source.join("large"), noise(0, 20 << 20));
        let ran = sync_with(engine, &["--json", "--no-hash"], &source, &destination).exits(0);
        assert!(ran.json().iter().all(|line| line["blake3"].is_null()));
        assert_equal(&source, &destination);
    }
}

fn many_large_files_at_once_come_through() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for index in 0..24 {
            file(
                source.join(format!("d{}/large{index}", index % 4)),
                noise(index, (9 << 20) + index as usize),
            );
        }
        sync_with(engine, &["--stats"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
    }
}

fn few_tasks_are_enough() {
    let home = scratch();
    let source = home.path().join("src");
    for index in 0..300 {
        file(source.join(format!("d{}/e/file{index}", index % 90)), noise(index, 300));
    }
    for index in 0..3 {
        file(source.join(format!("large{index}")), noise(index, 17 << 20));
        fs::hard_link(source.join(format!("large{index}")), source.join(format!("d{index}/link"))).unwrap();
    }
    for (jobs, depth) in [("1", "1"), ("1", "3"), ("3", "1"), ("5", "200")] {
        let destination = home.path().join(format!("{jobs}-{depth}"));
        sync_with("auto", &["-j", jobs, "--depth", depth], &source, &destination).exits(0);
        assert_equal(&source, &destination);
    }
}

/// Runs the program where these system calls are refused with an errno, as container runtimes do.
pub(crate) fn refusing(calls: &[i64], errno: i32, arguments: &[&std::ffi::OsStr]) -> Ran {
    let rules = calls.iter().map(|&call| (call, Vec::new())).collect();
    let arch = std::env::consts::ARCH.try_into().expect("an architecture that seccomp knows");
    let refusal = SeccompAction::Errno(errno as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refusal, arch).unwrap();
    let program_text: seccompiler::BpfProgram = filter.try_into().unwrap();
    let mut command = Command::new(program());
    command.args(arguments);
    // The filter is the thread's, and so that of what it starts.
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                seccompiler::apply_filter(&program_text).unwrap();
                run(command)
            })
            .join()
            .unwrap()
    })
}

fn without_io_uring_auto_uses_threads() {
    for errno in [libc::EPERM, libc::ENOSYS, libc::ENOMEM] {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("a/file"), noise(1, 10 << 20));
        let arguments = ["sync".as_ref(), "-v".as_ref(), source.as_os_str(), destination.as_os_str()];
        let ran = refusing(&[libc::SYS_io_uring_setup], errno, &arguments).exits(0);
        assert!(ran.err.contains("no io_uring, using 16 threads"), "{}", ran.err);
        assert_equal(&source, &destination);
        let quiet = ["sync".as_ref(), source.as_os_str(), destination.as_os_str()];
        assert_eq!(refusing(&[libc::SYS_io_uring_setup], errno, &quiet).exits(0).err, "");
    }
}

fn without_io_uring_the_ring_engine_says_why() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("file"), "x");
    for (errno, remedy) in [
        (libc::EPERM, "kernel.io_uring_disabled"),
        (libc::ENOSYS, "has no io_uring"),
        (libc::ENOMEM, "ulimit -l"),
    ] {
        let arguments = ["sync", "--engine", "uring"]
            .map(AsRef::as_ref)
            .into_iter()
            .chain([source.as_os_str(), destination.as_os_str()]);
        let arguments: Vec<_> = arguments.collect();
        let ran = refusing(&[libc::SYS_io_uring_setup], errno, &arguments).exits(3);
        assert!(ran.err.contains(remedy) && ran.err.lines().count() == 1, "{}", ran.err);
        assert!(!destination.exists());
    }
}

fn the_ring_engine_runs() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("file"), "x");
    let ran = sync_with("uring", &["--json"], &source, &destination).exits(0);
    assert_eq!(ran.json()[0]["engine"], "uring");
    let ran = sync_with("auto", &["--json"], &source, &destination).exits(0);
    assert_eq!(ran.json()[0]["engine"], "uring");
}

fn clones_share_extents_on_xfs() {
    let mount = Mount::new("xfs", "400M");
    for &engine in ENGINES.iter() {
        let (source, destination) = (mount.path().join("src"), mount.path().join(engine));
        file(source.join("large"), noise(1, 20 << 20));
        file(source.join("small"), noise(2, 5000));
        sync_with(engine, &["--reflink", "always"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        let map = tool("filefrag", &["-v", destination.join("large").to_str().unwrap()]);
        assert!(map.contains("shared"), "{map}");
        let apart = mount.path().join(format!("{engine}-apart"));
        sync_with(engine, &["--reflink", "never"], &source, &apart).exits(0);
        let map = tool("filefrag", &["-v", apart.join("large").to_str().unwrap()]);
        assert!(!map.contains("shared"), "{map}");
    }
}

fn always_cloning_fails_where_it_cannot_be_done() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("file"), "x");
    let ran = sync_with("auto", &["--reflink", "always"], &source, &destination).exits(23);
    assert!(ran.err.contains("clone ") && ran.err.contains("/dst/file: "), "{}", ran.err);
    assert!(!destination.join("file").exists());
}

fn without_openat2_the_threads_still_run() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("a/b/file"), "x");
    let arguments = ["sync".as_ref(), source.as_os_str(), destination.as_os_str()];
    refusing(&[libc::SYS_io_uring_setup, libc::SYS_openat2], libc::ENOSYS, &arguments).exits(0);
    assert_equal(&source, &destination);
}

/// A user that nobody else is, and a tree of theirs: what the kernel counts by users is this test's alone.
struct Stranger {
    user: u32,
    home: tempfile::TempDir,
}

impl Stranger {
    /// Their copy of the program, a tree `src` of theirs, and a directory `own` that they may write to.
    fn new(index: u32) -> Stranger {
        let user = 1_000_000_000 + std::process::id() % 100_000 * 1000 + index;
        let stranger = Stranger { user, home: scratch() };
        fs::copy(program(), stranger.at("ringsync")).unwrap();
        for index in 0..300 {
            file(stranger.at(&format!("src/d{}/file{index}", index % 9)), noise(index, 2000));
        }
        fs::create_dir(stranger.at("own")).unwrap();
        stranger.own_all();
        stranger
    }

    fn at(&self, path: &str) -> PathBuf {
        self.home.path().join(path)
    }

    fn own_all(&self) {
        give_tree(self.home.path(), self.user);
    }

    /// Runs the program as them, in their directory and within a limit of prlimit(1).
    fn run_within(&self, limit: &str, words: &[&str]) -> Ran {
        let mut command = user(self.user);
        command.args(["prlimit", limit]).arg(self.at("ringsync"));
        command.args(words).current_dir(self.home.path());
        run(command)
    }
}

fn rings_that_can_not_be_had_cost_no_run() {
    let (mut without, mut with_some) = (0, 0);
    for (index, jobs) in ["1", "2", "4", "16"].into_iter().enumerate() {
        // One user for several runs: what the last one held locked may not be free yet.
        let stranger = Stranger::new(index as u32);
        file(stranger.at("src/large"), noise(1, 20 << 20));
        stranger.own_all();
        for kib in [0, 16, 64, 100, 128, 256, 512, 1024, 8192] {
            let limit = format!("--memlock={0}:{0}", kib << 10);
            let what = format!("{kib} KiB, -j {jobs}");
            let succeeds = |words: &[&str]| {
                let ran = stranger.run_within(&limit, &[words, &["--json", "-j", jobs]].concat());
                assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{what}, {words:?}: {ran:#?}");
                ran
            };
            let mirror = format!("own/{kib}");
            let ran = succeeds(&["sync", "--verify", "src", &mirror]);
            let notice = ran.json()[0]["notice"].to_string();
            without += u32::from(notice.contains("no io_uring, using 16 threads"));
            with_some += u32::from(notice.contains(&format!("of {jobs} threads, plain system calls")));
            assert_equal(&stranger.at("src"), &stranger.at(&mirror));
            for _ in 0..3 {
                let dry = succeeds(&["sync", "-n", "src", "own/none"]).summary();
                assert_eq!(dry["created"], 311, "{what}");
                let forced = stranger.run_within(
                    &limit,
                    &["sync", "-n", "-q", "--engine=uring", "-j", jobs, "src", "own/none"],
                );
                let told = forced.code == Some(3) && forced.err.contains("ulimit -l");
                assert!(forced.code == Some(0) || told, "{what}: {forced:#?}");
            }
            let checked = succeeds(&["check", "-c", "src", &mirror]).summary();
            assert_eq!(
                (&checked["unchanged"], &checked["bytes"]),
                (&311.into(), &checked["source_bytes"]),
                "{what}"
            );
            fs::remove_dir_all(stranger.at(&mirror)).unwrap();
        }
    }
    assert!(without > 0 && with_some > 0, "{without} runs had no ring, {with_some} had too few");
}

fn workers_that_can_not_be_had_cost_no_run() {
    let (mut threadless, mut workerless) = (0, 0);
    for most in 3..20 {
        let stranger = Stranger::new(500 + most);
        let limit = format!("--nproc={most}:{most}");
        let words = ["sync", "--verify", "--json", "--stats", "--engine=uring", "-j", "4", "src", "own/dst"];
        let ran = stranger.run_within(&limit, &words);
        // Without threads there is no run; with them, there are no files that fail.
        if ran.code != Some(0) {
            assert!(ran.code == Some(3) && ran.err.contains("threads: "), "{most}: {ran:#?}");
            threadless += 1;
            continue;
        }
        assert_eq!(ran.err, "", "{most}");
        assert_equal(&stranger.at("src"), &stranger.at("own/dst"));
        // A ring that takes what it is given flushes all by itself, and never in place.
        let summary = ran.summary();
        let is_refused = |done: &Value| done["kind"] == "fsync" && done["means"] == "in_place";
        let rings = summary["rings"].as_array().unwrap();
        let refuses = |ring: &&Value| ring["operations"].as_array().unwrap().iter().any(is_refused);
        workerless += rings.iter().filter(refuses).count();
    }
    assert!(
        threadless > 0 && workerless > 0,
        "{threadless} runs had no threads, {workerless} rings no workers"
    );
}
