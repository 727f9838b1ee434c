//! Disks that leave while a run writes to them, that fail again and again, and that are too small for a file.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::fuse::{Call, Effect, Fuse};
use crate::support::mount::{Image, Mount};
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, noise, sparse};
use crate::support::{
    ENGINES, Ran, assert_equal, assert_no_litter, assert_whole, await_of, finish, program, program_with, run,
    scratch, sync_with, tool,
};

tests![
    a_disk_that_leaves_ends_the_run_with_one_message: [Need::Fuse],
    errors_in_a_row_end_the_run: [Need::Fuse],
    errors_between_which_files_are_written_cost_their_files_alone: [Need::Fuse],
    what_strace_makes_of_writes_ends_the_run: [Need::Tool("strace")],
    a_dying_source_is_read_to_its_end: [Need::Fuse],
    a_file_system_that_turns_read_only_ends_the_run: [Need::FileSystem("ext4")],
    a_file_system_that_shuts_down_ends_the_run: [Need::FileSystem("xfs"), Need::Tool("xfs_io")],
    deletions_on_a_disk_that_left_end_the_run: [Need::Tool("strace")],
    a_file_larger_than_the_disk_costs_that_file_alone: [Need::FileSystem("ext4"), Need::FileSystem("btrfs")],
    a_file_larger_than_the_quota_costs_that_file_alone: [Need::FileSystem("btrfs")],
    of_two_large_files_the_one_that_fits_is_copied: [Need::FileSystem("ext4")],
    what_takes_little_room_is_copied_whatever_its_size: [Need::FileSystem("xfs")],
    a_file_that_finds_no_room_on_the_way_is_given_up_alone: [Need::Fuse],
];

/// Files in several directories.
fn many_files(source: &Path, count: u64, size: usize) {
    for index in 0..count {
        file(source.join(format!("d{}/file{index}", index % 20)), noise(index, size));
    }
}

/// Files below a directory.
fn count_files(root: &Path) -> u64 {
    walkdir::WalkDir::new(root).into_iter().flatten().filter(|entry| entry.file_type().is_file()).count()
        as u64
}

fn a_disk_that_leaves_ends_the_run_with_one_message() {
    let home = scratch();
    let source = home.path().join("src");
    many_files(&source, 400, 3000);
    for &engine in ENGINES.iter() {
        for (call, errno) in [
            (Call::Write, libc::ENODEV),
            (Call::Write, libc::EROFS),
            (Call::Write, libc::ENXIO),
            (Call::Setattr, libc::ESHUTDOWN),
            (Call::Rename, libc::ENODEV),
        ] {
            let fuse = Fuse::new();
            let destination = fuse.path().join("dst");
            fuse.spoil_after(30, call, Effect::Fail(errno));
            let ran = sync_with(engine, &["--json", "--jobs=4"], &source, &destination).exits(11);
            assert_eq!(ran.err.lines().count(), 1, "{engine}, {errno}: {}", ran.err);
            let summary = ran.summary();
            assert_eq!((&summary["outcome"], &summary["errors"]), (&"broken-off".into(), &1.into()));
            fuse.release();
            assert!(summary["created"].as_u64().unwrap() <= 420, "what was in flight is not counted as done");
            let left = count_files(&destination);
            assert!(left < 400, "the others are not even tried: {left}");
            sync_with(engine, &[], &source, &destination).exits(0);
            assert_equal(&source, &destination);
            assert_no_litter(&destination);
        }
    }
}

fn errors_in_a_row_end_the_run() {
    let home = scratch();
    let source = home.path().join("src");
    many_files(&source, 400, 3000);
    for &engine in ENGINES.iter() {
        let fuse = Fuse::new();
        let destination = fuse.path().join("dst");
        fuse.spoil_after(0, Call::Write, Effect::Fail(libc::EIO));
        let ran = sync_with(engine, &[], &source, &destination).exits(11);
        assert_eq!(ran.err.lines().count(), 16, "{}", ran.err);
        let last: Vec<&str> = ran.err.lines().filter(|line| line.contains("given up after 16")).collect();
        assert_eq!(last.len(), 1, "{}", ran.err);
        assert!(ran.out.starts_with("broken off: "), "{}", ran.out);
        fuse.release();
        assert_eq!(count_files(&destination), 0);
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_equal(&source, &destination);
    }
}

fn errors_between_which_files_are_written_cost_their_files_alone() {
    let home = scratch();
    let source = home.path().join("src");
    for index in 0..60 {
        file(source.join(format!("d{index}/bad")), "bad");
        for good in 0..20 {
            file(source.join(format!("d{index}/good{good}")), "good");
        }
    }
    for &engine in ENGINES.iter() {
        let fuse = Fuse::new();
        let destination = fuse.path().join("dst");
        fuse.spoil(Call::Write, "bad", Effect::Fail(libc::EIO), usize::MAX);
        let ran = sync_with(engine, &["--jobs=2"], &source, &destination).exits(23);
        assert_eq!(ran.err.lines().count(), 60, "{}", ran.err);
        assert_eq!(count_files(&destination), 60 * 20);
    }
}

/// The ring's writes are not seen by strace(1), which counts the calls of each thread apart.
fn what_strace_makes_of_writes_ends_the_run() {
    let home = scratch();
    let source = home.path().join("src");
    many_files(&source, 200, 3000);
    for (errno, lines, when) in [("EIO", 16, "1+"), ("ENODEV", 1, "3+"), ("EROFS", 1, "3+")] {
        let destination = home.path().join(errno);
        let mut command = program_with(&[&format!("inject=pwrite64:error={errno}:when={when}")]);
        command.args(["sync", "--engine=threads"]).arg(&source).arg(&destination);
        let ran = run(command).exits(11);
        assert_eq!(ran.err.lines().count(), lines, "{}", ran.err);
        assert_whole(&source, &destination);
        sync_with("threads", &[], &source, &destination).exits(0);
        assert_equal(&source, &destination);
    }
}

fn a_dying_source_is_read_to_its_end() {
    let home = scratch();
    for &engine in ENGINES.iter() {
        let fuse = Fuse::new();
        let (source, destination) = (fuse.path().join("src"), home.path().join(engine));
        for index in 0..40 {
            file(source.join(format!("d{index}/bad")), "bad");
        }
        for index in 0..5 {
            file(source.join(format!("z/good{index}")), "good");
        }
        for errno in [libc::EIO, libc::ENODEV] {
            fuse.spoil(Call::Read, "bad", Effect::Fail(errno), usize::MAX);
            let ran = sync_with(engine, &[], &source, &destination).exits(23);
            assert_eq!(
                ran.err.lines().filter(|line| line.contains("read source")).count(),
                40,
                "{}",
                ran.err
            );
            fuse.release();
            assert_eq!(count_files(&destination), 5);
        }
    }
}

/// What has its own name is whole. What has not can't be removed from a disk that takes nothing any more.
fn assert_named_ones_are_whole(source: &Path, destination: &Path) {
    let files = walkdir::WalkDir::new(destination).into_iter().flatten();
    for entry in files.filter(|entry| entry.file_type().is_file()) {
        let below = entry.path().strip_prefix(destination).unwrap();
        if !below.to_string_lossy().contains(".ringsync-") {
            assert!(fs::read(entry.path()).unwrap() == fs::read(source.join(below)).unwrap(), "{below:?}");
        }
    }
}

/// Runs slowly, does something once a few files are there, and waits for the end.
fn meanwhile(engine: &str, source: &Path, destination: &Path, what: impl FnOnce()) -> Ran {
    let mut command = Command::new(program());
    command.args(["sync", "--bwlimit=2M", "--engine", engine]).arg(source).arg(destination);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("the program");
    await_of(&mut child, "a few files", || count_files(destination) >= 5);
    what();
    finish(child, Duration::from_secs(120))
}

fn a_file_system_that_turns_read_only_ends_the_run() {
    let home = scratch();
    let source = home.path().join("src");
    many_files(&source, 300, 100_000);
    for &engine in ENGINES.iter() {
        let image = Image::new("ext4", "100M", &["-e", "remount-ro"]);
        let mount = image.mount();
        let device = tool("findmnt", &[Path::new("-n"), Path::new("-o"), Path::new("SOURCE"), mount.path()]);
        let name = Path::new(device.trim()).file_name().unwrap().to_owned();
        let trigger = Path::new("/sys/fs/ext4").join(name).join("trigger_fs_error");
        let destination = mount.path().join("dst");
        let ran = meanwhile(engine, &source, &destination, || fs::write(&trigger, "a test").unwrap());
        let ran = ran.exits(11);
        assert!(ran.err.lines().count() < 16, "{}", ran.err);
        assert!(ran.err.contains("Read-only file system"), "{}", ran.err);
        assert_named_ones_are_whole(&source, &destination);
    }
}

fn a_file_system_that_shuts_down_ends_the_run() {
    let home = scratch();
    let source = home.path().join("src");
    many_files(&source, 300, 100_000);
    for &engine in ENGINES.iter() {
        let mount = Mount::new("xfs", "320M");
        let destination = mount.path().join("dst");
        let shutdown = || {
            tool("xfs_io", &[Path::new("-x"), Path::new("-c"), Path::new("shutdown"), mount.path()]);
        };
        let ran = meanwhile(engine, &source, &destination, shutdown).exits(11);
        // What was in flight may have been written in between.
        assert!(ran.err.lines().count() <= 40, "{}", ran.err);
        assert!(ran.err.contains("given up after 16"), "{}", ran.err);
    }
}

fn deletions_on_a_disk_that_left_end_the_run() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("stays"), "x");
    file(destination.join("stays"), "x");
    for index in 0..100 {
        file(destination.join(format!("extra{index}")), "x");
    }
    let mut command = program_with(&["inject=unlinkat:error=EROFS:when=20+"]);
    command.args(["sync", "--delete", "--engine=threads"]).arg(&source).arg(&destination);
    let ran = run(command).exits(11);
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
}

/// Small files on both sides of one that is too large, in the order of names and of directories.
fn around_a_large_one(source: &Path, large: usize) {
    many_files(source, 200, 5000);
    file(source.join("d10/large"), vec![7; large]);
}

/// Requires that everything but the large file is there, and that the run says what it lacks.
fn assert_all_but_the_large_one(ran: &Ran, source: &Path, destination: &Path) {
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    assert!(ran.err.contains("/d10/large: ") && ran.err.contains(" bytes are missing for it"), "{}", ran.err);
    let summary = ran.summary();
    assert_eq!((&summary["outcome"], &summary["failed"]), (&"broken-off".into(), &1.into()));
    let missing = summary["bytes_missing"].as_u64().expect("a number");
    assert!(missing > 0 && ran.err.contains(&format!("; {missing} bytes")), "{missing}: {}", ran.err);
    assert_eq!(count_files(destination), 200, "all the small ones");
    assert_whole(source, destination);
}

fn a_file_larger_than_the_disk_costs_that_file_alone() {
    let home = scratch();
    let source = home.path().join("src");
    around_a_large_one(&source, 100 << 20);
    for &engine in ENGINES.iter() {
        for (kind, size) in [("tmpfs", "180M"), ("ext4", "180M"), ("btrfs", "280M")] {
            for options in
                [&["--json"][..], &["--json", "--partial"], &["--json", "--inplace", "--no-atomic"]]
            {
                let mount = Mount::new(kind, size);
                let ballast = mount.path().join("ballast");
                let room = if kind == "tmpfs" { 120 } else { 100 };
                fs::write(&ballast, noise(1, room << 20)).unwrap();
                let destination = mount.path().join("dst");
                let ran = sync_with(engine, options, &source, &destination).exits(11);
                assert_all_but_the_large_one(&ran, &source, &destination);
                fs::remove_file(&ballast).unwrap();
                tool("sync", &["-f", mount.path().to_str().unwrap()]);
                let ran = sync_with(engine, options, &source, &destination).exits(0);
                assert_eq!(ran.summary()["created"], 1, "{}", ran.out);
                assert_equal(&source, &destination);
                assert_no_litter(&destination);
            }
        }
    }
}

/// What is free says nothing there.
fn a_file_larger_than_the_quota_costs_that_file_alone() {
    let home = scratch();
    let source = home.path().join("src");
    around_a_large_one(&source, 40 << 20);
    for &engine in ENGINES.iter() {
        let mount = Mount::new("btrfs", "400M");
        let place = mount.path().to_str().unwrap();
        let limited = mount.path().join("limited");
        tool("btrfs", &["-q", "quota", "enable", place]);
        tool("btrfs", &["-q", "subvolume", "create", limited.to_str().unwrap()]);
        tool("btrfs", &["-q", "qgroup", "limit", "16M", limited.to_str().unwrap()]);
        let destination = limited.join("dst");
        // btrfs counts what was given back a while longer, so that a run may find no room for a small file either.
        let once = || sync_with(engine, &["--json"], &source, &destination).exits(11);
        let ran =
            (0..20).map(|_| once()).find(|ran| ran.err.lines().count() == 1).expect("a run for small files");
        assert!(ran.err.contains("Disk quota exceeded"), "{}", ran.err);
        assert!(ran.summary()["bytes_missing"].as_u64().unwrap() > 20 << 20);
        assert_all_but_the_large_one(&ran, &source, &destination);
    }
}

fn of_two_large_files_the_one_that_fits_is_copied() {
    let home = scratch();
    let source = home.path().join("src");
    many_files(&source, 50, 5000);
    for name in ["a/large", "b/large"] {
        file(source.join(name), vec![7; 40 << 20]);
    }
    for &engine in ENGINES.iter() {
        for kind in ["tmpfs", "ext4"] {
            let mount = Mount::new(kind, "72M");
            let destination = mount.path().join("dst");
            let ran = sync_with(engine, &["--json"], &source, &destination).exits(11);
            assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
            assert_eq!(count_files(&destination), 51);
            assert!(ran.summary()["bytes_missing"].as_u64().unwrap() < 40 << 20);
            assert_whole(&source, &destination);
        }
    }
}

fn what_takes_little_room_is_copied_whatever_its_size() {
    for &engine in ENGINES.iter() {
        let mount = Mount::new("tmpfs", "20M");
        let home = scratch();
        let source = home.path().join("src");
        fs::create_dir(&source).unwrap();
        sparse(source.join("sparse"), 1 << 30, &[(500 << 20, b"data")]);
        sync_with(engine, &[], &source, &mount.path().join("dst")).exits(0);
        // A clone needs no room.
        let mount = Mount::new("xfs", "320M");
        let source = mount.path().join("src");
        file(source.join("large"), vec![7; 160 << 20]);
        sync_with(engine, &[], &source, &mount.path().join("dst")).exits(0);
        assert_equal(&source, &mount.path().join("dst"));
    }
}

/// A program's file system does not say what is free: its answer to a write is all that tells.
fn a_file_that_finds_no_room_on_the_way_is_given_up_alone() {
    let home = scratch();
    let source = home.path().join("src");
    around_a_large_one(&source, 20 << 20);
    for &engine in ENGINES.iter() {
        let fuse = Fuse::new();
        let destination = fuse.path().join("dst");
        file(destination.join("d10/large"), "old");
        fuse.spoil(Call::Write, "\u{7}\u{7}", Effect::Fail(libc::ENOSPC), usize::MAX);
        let ran = sync_with(engine, &["--json"], &source, &destination).exits(11);
        assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
        assert_eq!(ran.summary()["bytes_missing"], 20 << 20, "{}", ran.out);
        assert_eq!(count_files(&destination), 201);
        assert_eq!(fs::read(destination.join("d10/large")).unwrap(), b"old");
        fuse.release();
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_equal(&source, &destination);
    }
}
