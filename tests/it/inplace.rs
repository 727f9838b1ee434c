//! `--inplace` and `--partial`: files that are rewritten where they are, and copies that go on where they broke off.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::fuse::{Call, Effect, Fuse};
use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, modified, noise, sparse, xattr};
use crate::support::{ENGINES, assert_equal, assert_no_litter, finish, program, run, scratch, sync_with};

tests![
    a_file_is_rewritten_where_it_is,
    only_blocks_that_differ_are_written: [Need::Tool("strace")],
    holes_stay_holes_in_place,
    what_has_other_names_is_replaced_and_not_written_through,
    a_copy_goes_on_where_it_broke_off: [Need::Tool("strace")],
    what_was_written_is_checked_before_it_is_trusted,
    a_partial_file_that_nobody_needs_is_removed,
    what_is_left_beside_a_single_file_is_removed: [Need::Tool("prlimit")],
    a_partial_file_planted_by_others_is_not_used: [Need::Root],
    a_full_disk_gets_nothing_and_a_signal_leaves_what_was_written: [Need::Root],
    a_copy_that_a_retry_mends_leaves_nothing: [Need::Fuse],
    two_runs_do_not_share_a_partial_file,
    a_directory_with_a_partial_file_does_not_look_complete: [Need::Tool("prlimit")],
    what_marks_a_mixture_goes_with_it,
];

/// A run with `--backup` that was killed left the mark; the next one, without it, completes the file. The mark of a file of
/// the source is not copied: its mirror would never be backed up.
fn what_marks_a_mixture_goes_with_it() {
    const MARK: &str = "user.ringsync.unfinished";
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("file"), "new");
        file(source.join("marked"), "new");
        xattr(source.join("marked"), MARK, b"");
        file(destination.join("file"), "half of the old one");
        xattr(destination.join("file"), MARK, b"");
        let is_marked = |name| rustix::fs::lgetxattr(destination.join(name), MARK, &mut [0_u8; 1]).is_ok();
        let run = |options: &[&str]| sync_with(engine, options, &source, &destination).exits(0);
        run(&["--inplace", "--no-acls", "--no-xattrs"]);
        run(&["--inplace"]);
        assert!(!is_marked("file") && !is_marked("marked"));
        for name in ["file", "marked"] {
            file(source.join(name), "newer still");
        }
        run(&["--inplace", "--backup"]);
        for name in ["file~", "marked~"] {
            assert_eq!(fs::read(destination.join(name)).unwrap(), b"new", "{name}");
        }
    }
}

fn a_file_is_rewritten_where_it_is() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        // Longer, shorter, of equal size, small, large, empty.
        let sizes = [(5000, 70_000), (20 << 20, 9 << 20), (9 << 20, 30 << 20), (100, 100), (7, 0), (0, 7)];
        for (index, (before, after)) in sizes.into_iter().enumerate() {
            let old = destination.join(format!("file{index}"));
            file(&old, noise(index as u64, before));
            mode(old, 0o600); // one that grants more than its source is replaced (gain.rs)
            let path = source.join(format!("file{index}"));
            file(&path, noise(index as u64 % 2, after));
            modified(&path, 1_000_000, index as i64);
            mode(&path, 0o4640);
        }
        let inode = |index: usize| fs::metadata(destination.join(format!("file{index}"))).unwrap().ino();
        let before: Vec<u64> = (0..4).map(inode).collect();
        sync_with(engine, &["--inplace"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert_no_litter(&destination);
        assert_eq!((0..4).map(inode).collect::<Vec<_>>(), before, "the inodes are the old ones");
    }
}

/// Bytes that a run of plain system calls wrote to files.
fn written(options: &[&str], source: &Path, destination: &Path) -> u64 {
    let log = source.with_extension("log");
    let mut command = Command::new("strace");
    command.args(["-f", "-o"]).arg(&log).args(["-e", "trace=pwrite64", "-e", "abbrev=all", "-s0"]);
    command.arg(program()).args(["sync", "-q", "--engine=threads"]).args(options);
    command.arg(source).arg(destination);
    run(command).exits(0);
    let trace = fs::read_to_string(log).unwrap();
    let results = trace.lines().filter(|line| line.contains("pwrite64"));
    results.filter_map(|line| line.rsplit("= ").next()?.trim().parse::<u64>().ok()).sum()
}

fn only_blocks_that_differ_are_written() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("large"), noise(1, 30 << 20));
    sync_with("auto", &[], &source, &destination).exits(0);
    let large = File::options().write(true).open(source.join("large")).unwrap();
    for at in [0_u64, 5_000_000, 5_000_001, (30 << 20) - 1] {
        large.write_all_at(b"!", at).unwrap();
    }
    assert_eq!(written(&["--inplace"], &source, &destination), 3 * 4096);
    assert_equal(&source, &destination);
}

fn holes_stay_holes_in_place() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        fs::create_dir_all(&source).unwrap();
        fs::create_dir_all(&destination).unwrap();
        let block = noise(1, 65536);
        // Data where a hole was, a hole where data was, a hole that stays, one at the end, and one of gigabytes.
        sparse(source.join("file"), 64 << 20, &[(0, &block), (20 << 20, &block)]);
        sparse(destination.join("file"), 50 << 20, &[(0, &block), (30 << 20, &block), (32 << 20, &block)]);
        sparse(source.join("huge"), 1 << 40, &[(1 << 39, &block)]);
        sparse(destination.join("huge"), 1 << 40, &[(1 << 38, &block)]);
        modified(destination.join("huge"), 1_000_000, 0); // of equal size, and made within the clock's tick
        sync_with(engine, &["--inplace"], &source, &destination).exits(0);
        let blocks = |name: &str| fs::metadata(destination.join(name)).unwrap().blocks() * 512;
        assert!(blocks("file") <= 2 * 65536 + 8192, "{} bytes on disk", blocks("file"));
        assert!(blocks("huge") <= 65536 + 8192, "{} bytes on disk", blocks("huge"));
        let same = fs::read(source.join("file")).unwrap() == fs::read(destination.join("file")).unwrap();
        assert!(same);
        let mut piece = vec![0; 65536];
        let huge = File::open(destination.join("huge")).unwrap();
        huge.read_exact_at(&mut piece, 1 << 39).unwrap();
        assert!(piece == block);
    }
}

/// A hard link planted in the destination, or a symlink, or a FIFO, leads nowhere.
fn what_has_other_names_is_replaced_and_not_written_through() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination, outside) =
            (home.path().join("src"), home.path().join("dst"), home.path().join("outside"));
        file(&outside, "not yours");
        fs::create_dir_all(&destination).unwrap();
        for name in ["hard", "soft", "fifo"] {
            file(source.join(name), noise(1, 9000));
        }
        fs::hard_link(&outside, destination.join("hard")).unwrap();
        std::os::unix::fs::symlink(&outside, destination.join("soft")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            destination.join("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        sync_with(engine, &["--inplace"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert_eq!(fs::read(&outside).unwrap(), b"not yours");
    }
}

/// The temporary file that a run with `--partial` left.
fn partial_in(directory: &Path) -> Option<PathBuf> {
    let names = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    names.into_iter().find(|path| path.to_string_lossy().contains(".ringsync-partial-"))
}

/// Kills a run with `--partial` once it has written some of a large file.
fn break_off(engine: &str, source: &Path, destination: &Path) -> PathBuf {
    use rustix::process::{Pid, Signal, kill_process};
    let mut command = Command::new(program());
    command.args(["sync", "-q", "--partial", "-j1", "--depth=1", "--engine", engine]);
    let child = command.arg(source).arg(destination).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap();
    let begun = Instant::now();
    let some = |path: &PathBuf| fs::metadata(path).is_ok_and(|file| file.blocks() * 512 > 6 << 20);
    while partial_in(destination).filter(some).is_none() {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing is written");
        std::thread::yield_now();
    }
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    finish(child, Duration::from_secs(20));
    partial_in(destination).expect("the run was killed before its end")
}

const SIZE: usize = 400 << 20;

fn a_copy_goes_on_where_it_broke_off() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("large"), noise(1, SIZE));
        let partial = break_off(engine, &source, &destination);
        let done = fs::metadata(&partial).unwrap().blocks() * 512;
        assert!(!destination.join("large").exists());
        let written = written(&["--partial"], &source, &destination);
        assert_equal(&source, &destination);
        assert_no_litter(&destination);
        // The last blocks of what was there may have been half written.
        assert!(written <= SIZE as u64 - done + (1 << 20), "{written} bytes written, {done} were there");
        assert!(written > 0);
    }
}

fn what_was_written_is_checked_before_it_is_trusted() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("large"), noise(1, SIZE));
        let partial = break_off(engine, &source, &destination);
        let broken = File::options().write(true).open(&partial).unwrap();
        broken.write_all_at(b"rotten", 1 << 20).unwrap();
        // And the source has become another one.
        let new = File::options().write(true).open(source.join("large")).unwrap();
        new.write_all_at(b"new", 2 << 20).unwrap();
        sync_with(engine, &["--partial"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert_no_litter(&destination);
    }
}

fn a_partial_file_that_nobody_needs_is_removed() {
    for &engine in ENGINES.iter() {
        for options in [&["--partial"][..], &[]] {
            let home = scratch();
            let (source, destination) = (home.path().join("src"), home.path().join("dst"));
            file(source.join("large"), noise(1, SIZE));
            break_off(engine, &source, &destination);
            fs::remove_file(source.join("large")).unwrap();
            file(source.join("small"), "small");
            sync_with(engine, options, &source, &destination).exits(0);
            assert_equal(&source, &destination);
            assert_no_litter(&destination);
        }
    }
}

fn what_is_left_beside_a_single_file_is_removed() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (large, destination) = (home.path().join("large"), home.path().join("dst"));
        file(&large, noise(1, 30 << 20));
        file(home.path().join("small"), "small");
        fs::create_dir(&destination).unwrap();
        let mut command = Command::new("prlimit");
        command.arg("--fsize=20971520").arg(program());
        command.args(["sync", "-q", "--partial", "--engine", engine]).arg(&large).arg(&destination);
        run(command).exits(23);
        assert!(partial_in(&destination).is_some());
        sync_with(engine, &[], &home.path().join("small"), &destination).exits(0);
        assert_no_litter(&destination);
    }
}

/// Who may write to what we find could go on writing to it when it has its name.
fn a_partial_file_planted_by_others_is_not_used() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("large"), noise(1, SIZE));
        let partial = break_off(engine, &source, &destination);
        rustix::fs::chown(&partial, Some(rustix::fs::Uid::from_raw(65534)), None).unwrap();
        let planted = fs::metadata(&partial).unwrap().ino();
        let hold = File::open(&partial).unwrap(); // so that the number is not given again
        sync_with(engine, &["--partial"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert_no_litter(&destination);
        assert_ne!(fs::metadata(destination.join("large")).unwrap().ino(), planted);
        drop(hold);
    }
}

/// What does not fit is not begun. A signal leaves as much as a kill does, and a directory that does not look complete.
fn a_full_disk_gets_nothing_and_a_signal_leaves_what_was_written() {
    use rustix::process::{Pid, Signal, kill_process};
    for &engine in ENGINES.iter() {
        let home = scratch();
        let source = home.path().join("src");
        file(source.join("d/large"), noise(1, SIZE));
        modified(source.join("d"), 1_000_000, 0);
        let small = Mount::new("tmpfs", "100M");
        let destination = small.path().join("dst");
        sync_with(engine, &["--partial"], &source, &destination).exits(11);
        assert!(partial_in(&destination.join("d")).is_none(), "it would take the room of others");
        crate::support::tool("mount", &["-o", "remount,size=1G", small.path().to_str().unwrap()]);
        let mut command = Command::new(program());
        command.args(["sync", "--partial", "--json", "-j1", "--depth=1", "--engine", engine]);
        let child = command.arg(&source).arg(&destination);
        let child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let begun = Instant::now();
        let written = || {
            let file = partial_in(&destination.join("d")).and_then(|partial| fs::metadata(partial).ok());
            file.map_or(0, |file| file.blocks() * 512)
        };
        while written() < 150 << 20 {
            assert!(begun.elapsed() < Duration::from_secs(60), "it is not begun");
            std::thread::yield_now();
        }
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        assert_eq!(finish(child, Duration::from_secs(20)).code, Some(20));
        assert!(partial_in(&destination.join("d")).is_some(), "a signal leaves it, too");
        sync_with(engine, &["--partial"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert_no_litter(&destination);
    }
}

/// A source that changes once while it is read: the copy is made again, and its directory is complete.
fn a_copy_that_a_retry_mends_leaves_nothing() {
    let (fuse, home) = (Fuse::new(), scratch());
    for &engine in ENGINES.iter() {
        let (source, destination) = (fuse.path().join(engine), home.path().join(engine));
        file(source.join("d/large"), noise(1, 12 << 20));
        fuse.spoil(Call::Read, "large", Effect::Change(|bytes| bytes[0] ^= 1), 1);
        sync_with(engine, &["--partial"], &source, &destination).exits(0);
        assert_eq!(fuse.spoiled(Call::Read), 1, "it changed");
        fuse.release();
        assert_equal(&source, &destination);
        assert_no_litter(&destination);
    }
}

/// Each run has a file of its own, whichever finds the other's.
fn two_runs_do_not_share_a_partial_file() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("large"), noise(1, SIZE));
    for &engine in ENGINES.iter() {
        for _ in 0..3 {
            fs::remove_dir_all(&destination).ok();
            let start = || {
                let mut command = Command::new(program());
                command.args(["sync", "-q", "--partial", "--engine", engine]).arg(&source).arg(&destination);
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            };
            let both = [start(), start()];
            for child in both {
                assert_eq!(finish(child, Duration::from_secs(100)).code, Some(0));
            }
            assert_equal(&source.join("large"), &destination.join("large"));
            assert_no_litter(&destination);
        }
    }
}

/// The file failed, the run went on and ended: only the directory's time tells the next one where to look.
fn a_directory_with_a_partial_file_does_not_look_complete() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("d/large"), noise(1, 30 << 20));
        file(source.join("d/small"), "small");
        modified(source.join("d"), 1_000_000, 0);
        let mut command = Command::new("prlimit");
        command.arg("--fsize=20971520").arg(program());
        command.args(["sync", "-q", "--partial", "--engine", engine]).arg(&source).arg(&destination);
        run(command).exits(23);
        assert!(partial_in(&destination.join("d")).is_some());
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert_no_litter(&destination);
    }
}
