//! `--fsync`: what is said to be on stable storage is there, after a crash too.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::fuse::{Call, Effect, Fuse};
use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{Node, file, modified, noise, snapshot};
use crate::support::{
    ENGINES, Ran, assert_equal, assert_no_litter, finish, program, program_with, run, scratch, sync_with,
    tool,
};

tests![
    every_entry_and_the_run_are_reported_durable,
    data_is_flushed_before_its_name_and_names_before_the_report: [Need::Tool("strace")],
    a_crash_of_xfs_costs_nothing_that_was_reported: [Need::FileSystem("xfs"), Need::Tool("xfs_io")],
    a_crash_of_ext4_costs_nothing_that_was_reported: [Need::FileSystem("ext4"), Need::Tool("xfs_io")],
    what_cannot_be_written_back_is_reported: [Need::FileSystem("ext4")],
    directories_that_cannot_be_flushed_are_told_once: [Need::Fuse],
    files_that_cannot_be_flushed_are_told_once: [Need::Fuse],
    calls_that_flush_may_be_forbidden: [Need::Tool("strace")],
    file_systems_that_cannot_be_flushed_are_flushed_with_all_others: [Need::Tool("strace")],
    a_flush_that_fails_ends_the_run: [Need::Tool("strace")],
];

fn build(source: &Path, directories: u64, files: u64) {
    for index in 0..files {
        let path = source.join(format!("d{}/e/file{index}", index % directories));
        file(&path, noise(index, if index % 100 == 7 { 9 << 20 } else { 3000 + index as usize % 5000 }));
        modified(&path, 1_000_000, index as i64);
    }
}

fn every_entry_and_the_run_are_reported_durable() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        build(&source, 3, 30);
        fs::hard_link(source.join("d0/e/file0"), source.join("d1/link")).unwrap();
        std::os::unix::fs::symlink("nowhere", source.join("symlink")).unwrap();
        let ran = sync_with(engine, &["--fsync", "--json"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert_eq!(ran.summary()["durable"], true);
        let files: Vec<_> = ran.json().into_iter().filter(|line| line["event"] == "file").collect();
        let durable = |line: &&serde_json::Value| line["durable"] == true;
        assert_eq!(files.iter().filter(durable).count(), 32, "30 files, a hard link and a symlink");
        assert!(files.iter().filter(|line| !durable(line)).all(|line| line["type"] == "directory"));
        let plain = sync_with(engine, &["--json", "-vv"], &source, &destination).exits(0);
        assert!(!plain.out.contains("durable"), "nothing is said where nothing is flushed");
        let again = sync_with(engine, &["--fsync", "--json"], &source, &destination).exits(0);
        assert_eq!((again.json().len(), &again.summary()["durable"]), (2, &true.into()));
    }
}

/// Of a trace of system calls: the line of each that matches, in order.
fn lines_of<'a>(trace: &'a str, call: &str) -> Vec<(usize, &'a str)> {
    trace.lines().enumerate().filter(|(_, line)| line.contains(call)).collect()
}

fn data_is_flushed_before_its_name_and_names_before_the_report() {
    let home = scratch();
    let (source, destination, log) =
        (home.path().join("src"), home.path().join("dst"), home.path().join("log"));
    for index in 0..5 {
        file(source.join(format!("directory/file{index}")), noise(index, 3000));
    }
    file(destination.join("directory/file0"), "old");
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-o"]).arg(&log).args(["-e", "trace=fsync,syncfs,linkat,renameat,write"]);
    command.arg(program()).args(["sync", "--json", "--fsync", "--engine=threads"]);
    run({
        command.arg(&source).arg(&destination);
        command
    })
    .exits(0);
    let trace = fs::read_to_string(&log).unwrap();
    let flushes = lines_of(&trace, "fsync(");
    let inode_of = |line: &str| line.split("fsync(").nth(1).unwrap().split('<').next().unwrap().to_string();
    // With one thread a file: its flush is the last one that the thread made before it gave the file its name.
    for (at, line) in lines_of(&trace, "linkat(") {
        let thread = line.split_whitespace().next().unwrap();
        let descriptor = line.split("linkat(").nth(1).unwrap().split('<').next().unwrap();
        let flushed = flushes
            .iter()
            .any(|(when, flush)| *when < at && flush.starts_with(thread) && inode_of(flush) == descriptor);
        assert!(flushed || line.contains("AT_FDCWD"), "{line} comes before its flush:\n{trace}");
    }
    let names = lines_of(&trace, "linkat(").len();
    assert_eq!((names, lines_of(&trace, "renameat(").len()), (5, 1), "{trace}");
    let directory = flushes.iter().filter(|(_, line)| line.contains("dst/directory>")).map(|(at, _)| *at);
    let last_name = lines_of(&trace, "linkat(").last().unwrap().0;
    assert!(directory.max().unwrap() > last_name, "{trace}");
    let parent = flushes.iter().any(|(_, line)| line.contains("dst>"));
    assert!(parent && lines_of(&trace, "syncfs(").len() == 1, "{trace}");
}

/// Shuts a file system down in the middle of a run, as a power cut would, and returns what was reported before as durable.
fn crash(place: &Mount, source: &Path, engine: &str) -> Vec<PathBuf> {
    let destination = place.path().join("dst");
    let mut command = Command::new(program());
    command.args(["sync", "--json", "--fsync", "--engine", engine]).arg(source).arg(&destination);
    // There will be more errors than a pipe holds that nobody reads before the output ends.
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let reported = |line: String| {
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        (line["durable"] == true && line["event"] == "file")
            .then(|| PathBuf::from(line["path"].as_str().unwrap()))
    };
    let mut durable: Vec<PathBuf> = Vec::new();
    while durable.len() < 100 {
        durable.extend(out.next().map(reported).expect("the run goes on"));
    }
    tool("xfs_io", &["-x", "-c", "shutdown", place.path().to_str().unwrap()]);
    durable.extend(out.filter_map(reported));
    let ran = finish(child, Duration::from_secs(60));
    assert_eq!(ran.code, Some(11));
    durable
}

/// Some files that are on stable storage already, and will be others: an update, or a new name for what is there.
fn build_older(destination: &Path) {
    for index in (0..3000_u64).step_by(7) {
        file(destination.join(format!("d{}/e/file{index}", index % 40)), noise(index + 5000, 2000));
    }
    rustix::fs::sync();
}

fn assert_survives_a_crash(kind: &str) {
    for (&engine, update) in ENGINES.iter().zip([false, true]) {
        let home = scratch();
        let (source, image) = (home.path().join("src"), home.path().join("image"));
        build(&source, 40, 3000);
        tool("truncate", &["-s", "700M", image.to_str().unwrap()]);
        tool(&format!("mkfs.{kind}"), &["-q", image.to_str().unwrap()]);
        let durable = {
            let mount = Mount::of_image(&image);
            if update {
                build_older(&mount.path().join("dst"));
            }
            let older = if update { snapshot(&mount.path().join("dst")) } else { BTreeMap::new() };
            let durable = crash(&mount, &source, engine);
            // Not lazily: the image is mounted again at once.
            tool("umount", &[mount.path().to_str().unwrap()]);
            tool("mount", &["-o", "loop", image.to_str().unwrap(), mount.path().to_str().unwrap()]);
            let (want, have): (BTreeMap<PathBuf, Node>, _) =
                (snapshot(&source), snapshot(&mount.path().join("dst")));
            for path in &durable {
                assert_eq!(have.get(path), want.get(path), "{} was said to be durable", path.display());
            }
            for (path, node) in have.iter().filter(|(path, node)| node.kind == "file" && !temporary(path)) {
                let whole = want.get(path) == Some(node) || older.get(path) == Some(node);
                assert!(whole, "{} is not whole", path.display());
            }
            sync_with(engine, &["--fsync"], &source, &mount.path().join("dst")).exits(0);
            assert_equal(&source, &mount.path().join("dst"));
            assert_no_litter(&mount.path().join("dst"));
            durable
        };
        assert!(durable.len() >= 100 && durable.len() < 3000, "{} of 3000", durable.len());
    }
}

fn temporary(path: &Path) -> bool {
    path.to_string_lossy().contains(".ringsync-")
}

fn a_crash_of_xfs_costs_nothing_that_was_reported() {
    assert_survives_a_crash("xfs");
}

fn a_crash_of_ext4_costs_nothing_that_was_reported() {
    assert_survives_a_crash("ext4");
}

/// A disk that fails: an image with holes on a tmpfs that has no room to fill them.
fn what_cannot_be_written_back_is_reported() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let source = home.path().join("src");
        for index in 0..40 {
            file(source.join(format!("file{index}")), noise(index, 1 << 20));
        }
        let small = Mount::new("tmpfs", "20M");
        let image = small.path().join("image");
        tool("truncate", &["-s", "200M", image.to_str().unwrap()]);
        tool("mkfs.ext4", &["-q", image.to_str().unwrap()]);
        let disk = Mount::of_image(&image);
        let destination = disk.path().join("dst");
        let ran = sync_with(engine, &["--fsync", "--json"], &source, &destination).exits(11);
        // Whichever comes first: that, or what ext4 does about it.
        let told = ["flush to stable storage", "Read-only file system"];
        assert!(told.iter().any(|text| ran.err.contains(text)), "{}", ran.err);
        assert_eq!(ran.summary()["durable"], false);
    }
}

/// Whether any entry, or the run, was said to be durable.
fn says_durable(ran: &Ran) -> bool {
    ran.json().iter().any(|line| line["durable"] == true)
}

fn notices(ran: &Ran) -> Vec<String> {
    let lines = ran.json().into_iter().filter(|line| line["event"] == "notice");
    lines.map(|line| line["message"].as_str().unwrap().to_string()).collect()
}

/// What the kernel asks of a program is answered in both engines alike.
fn directories_that_cannot_be_flushed_are_told_once() {
    for (&engine, errno) in
        ENGINES.iter().flat_map(|engine| [libc::EINVAL, libc::EOPNOTSUPP].map(|errno| (engine, errno)))
    {
        let fuse = Fuse::new();
        let home = scratch();
        let (source, destination) = (home.path().join("src"), fuse.path().join("a/dst"));
        build(&source, 5, 40);
        file(destination.join("d0/e/file0"), "old");
        fuse.spoil(Call::Fsyncdir, "", Effect::Fail(errno), usize::MAX);
        let options = ["--fsync", "--json", "--no-acls", "--no-xattrs", "--backup-dir", "../old"];
        let ran = sync_with(engine, &options, &source, &destination).exits(0);
        assert_eq!(
            fs::read(destination.join("d4/e/file39")).unwrap(),
            fs::read(source.join("d4/e/file39")).unwrap()
        );
        let told = notices(&ran);
        assert_eq!(told.iter().filter(|text| text.contains("can't be flushed")).count(), 1, "{told:?}");
        assert!(told.iter().any(|text| text.contains("without their names after a power cut")), "{told:?}");
        assert_eq!(ran.summary()["durable"], false);
        let plain = sync_with(engine, &["--no-acls", "--no-xattrs"], &source, &destination).exits(0);
        assert!(!plain.err.contains("flushed"), "nobody asked for it: {}", plain.err);
    }
}

fn files_that_cannot_be_flushed_are_told_once() {
    for (&engine, errno) in
        ENGINES.iter().flat_map(|engine| [libc::EINVAL, libc::EOPNOTSUPP].map(|errno| (engine, errno)))
    {
        let fuse = Fuse::new();
        let home = scratch();
        let (source, destination) = (home.path().join("src"), fuse.path().join("dst"));
        build(&source, 5, 40);
        fs::hard_link(source.join("d0/e/file0"), source.join("d1/link")).unwrap();
        fuse.spoil(Call::Fsync, "", Effect::Fail(errno), usize::MAX);
        let options = ["--fsync", "--json", "--no-acls", "--no-xattrs"];
        let ran = sync_with(engine, &options, &source, &destination).exits(23);
        for index in 0..40 {
            let path = format!("d{}/e/file{index}", index % 5);
            assert_eq!(fs::read(source.join(&path)).unwrap(), fs::read(destination.join(&path)).unwrap());
        }
        assert_no_litter(&destination);
        assert_eq!(ran.summary()["errors"], 1, "{}", ran.out);
        assert!(
            ran.err.contains("flush to stable storage ") && ran.err.contains("but not flushed"),
            "{}",
            ran.err
        );
        assert_eq!(ran.summary()["durable"], false);
        let again = sync_with(engine, &options, &source, &destination).exits(0);
        assert_eq!(again.summary()["bytes"], 0, "nothing is copied again: {}", again.out);
    }
}

fn calls_that_flush_may_be_forbidden() {
    for errno in ["EINVAL", "EOPNOTSUPP", "ENOSYS", "EPERM"] {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        build(&source, 3, 20);
        file(destination.join("d0/e/file0"), "old");
        let mut command = program_with(&[&format!("inject=fsync,fdatasync:error={errno}")]);
        command.args(["sync", "--engine=threads", "--fsync", "--json", "--backup", "--suffix=.old"]);
        command.arg(&source).arg(&destination);
        let ran = run(command).exits(23);
        fs::remove_file(destination.join("d0/e/file0.old")).unwrap();
        for index in 0..20 {
            let path = format!("d{}/e/file{index}", index % 3);
            assert_eq!(
                fs::read(source.join(&path)).unwrap(),
                fs::read(destination.join(&path)).unwrap(),
                "{errno}"
            );
        }
        assert_eq!((ran.summary()["errors"].as_u64(), says_durable(&ran)), (Some(1), false), "{}", ran.out);
    }
}

fn file_systems_that_cannot_be_flushed_are_flushed_with_all_others() {
    for (&engine, errno) in ENGINES
        .iter()
        .flat_map(|engine| ["EINVAL", "EOPNOTSUPP", "ENOSYS", "EPERM"].map(|errno| (engine, errno)))
    {
        let home = scratch();
        let (source, destination, log) =
            (home.path().join("src"), home.path().join("dst"), home.path().join("log"));
        build(&source, 3, 20);
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o"]).arg(&log).args(["-e", "trace=sync,syncfs"]);
        command.args(["-e", &format!("inject=syncfs:error={errno}")]).arg(program());
        command.args(["sync", "--engine", engine, "--fsync", "--json"]).arg(&source).arg(&destination);
        let ran = run(command).exits(0);
        assert_equal(&source, &destination);
        let trace = fs::read_to_string(&log).unwrap();
        assert_eq!(lines_of(&trace, " sync()").len(), 1, "{trace}");
        let told = notices(&ran);
        assert!(told.len() == 1 && told[0].contains("all were (sync), which tells of no error"), "{told:?}");
        assert_eq!(ran.summary()["durable"], false);
    }
}

fn a_flush_that_fails_ends_the_run() {
    for (&engine, call) in ENGINES.iter().flat_map(|engine| ["syncfs", "fsync"].map(|call| (engine, call))) {
        for errno in ["EIO", "ENOSPC"] {
            if engine != "threads" && call == "fsync" {
                continue; // a ring's is none that strace sees
            }
            let home = scratch();
            let (source, destination) = (home.path().join("src"), home.path().join("dst"));
            build(&source, 3, 20);
            let mut command = program_with(&[&format!("inject={call}:error={errno}")]);
            command.args(["sync", "--engine", engine, "--fsync", "--json"]).arg(&source).arg(&destination);
            let ran = run(command);
            assert!(matches!(ran.code, Some(11 | 3)), "{ran:?}");
            assert!(ran.code == Some(3) || !says_durable(&ran) || call == "syncfs", "{}", ran.out);
        }
    }
}
