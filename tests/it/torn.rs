//! Sources that are written to while they are read: a copy is a state that the file was in, or there is none.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::mem::MaybeUninit;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::inotify;

use crate::support::fuse::{Call, Effect, Fuse};
use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, modified, noise};
use crate::support::{AtEnd, ENGINES, assert_equal, assert_no_litter, scratch, sync_with};

tests![
    a_file_that_shrinks_all_the_time_is_no_mixture,
    a_file_that_is_truncated_all_the_time_is_no_mixture,
    a_file_that_is_rewritten_all_the_time_is_reported,
    two_writes_in_one_tick_leave_nothing_stale: [Need::Root],
    three_changes_are_too_many: [Need::Fuse],
    after_two_changes_the_third_copy_is_whole: [Need::Fuse],
    a_file_that_is_emptied_becomes_empty: [Need::Fuse],
];

/// Bytes that are written at once, and so of which all or none are there.
const CHUNK: usize = 4096;

/// Somebody who writes to a file of `size` bytes.
struct Writer {
    size: usize,
    /// Does so once; the number goes up.
    step: fn(&File, usize, u64),
    /// Whether these bytes are ones that the file ever had.
    whole: fn(&[u8]) -> bool,
    /// The file becomes longer now and then: a run may keep what it was before, and need not give up on it.
    grows: bool,
}

/// A chunk that shows when it was written.
fn stamped(number: u64) -> [u8; CHUNK] {
    let mut chunk = [0; CHUNK];
    chunk.chunks_exact_mut(8).for_each(|stamp| stamp.copy_from_slice(&number.to_le_bytes()));
    chunk
}

/// The numbers of all stamps, in order, each once in a row.
fn stamps(bytes: &[u8]) -> Vec<u64> {
    let mut stamps: Vec<u64> =
        bytes.chunks(8).map(|stamp| stamp.try_into().map_or(u64::MAX, u64::from_le_bytes)).collect();
    stamps.dedup();
    stamps
}

/// Mirrors again and again while the file is written to, until a run gave up on it. Then the writer stops, and the next
/// run has the whole file.
fn copy_while_written(writer: &Writer) {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("torn"), stamped(0).repeat(writer.size / CHUNK));
        file(source.join("other"), "other");
        let torn = OpenOptions::new().write(true).open(source.join("torn")).unwrap();
        let done = AtomicBool::new(false);
        let reported = std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1.. {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    (writer.step)(&torn, writer.size, number);
                }
            });
            let _end = AtEnd(&done);
            // Another process may keep the writer from writing for the moment a copy takes: then there is another try.
            // One that grows when it is read may be kept as it was, which is not what this is about.
            let (mut runs, mut disturbed) = (0..400, 0);
            runs.find(|_| {
                file(destination.join("torn"), "old");
                let ran = sync_with(engine, &[], &source, &destination);
                let copy = fs::read(destination.join("torn")).unwrap();
                if ran.code == Some(0) {
                    assert!((writer.whole)(&copy), "a mixture: {:?}", stamps(&copy));
                    disturbed += u32::from(ran.err.contains("grew while it was read"));
                    assert!(writer.grows || disturbed == 0, "it never grows");
                    return disturbed > 50;
                }
                let ran = ran.exits(23);
                assert!(ran.err.contains("torn: it changed while it was being read"), "{}", ran.err);
                assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
                assert_eq!(copy, b"old");
                true
            })
        });
        assert!(reported.is_some(), "no copy was disturbed");
        assert_eq!(fs::read(destination.join("other")).unwrap(), b"other");
        assert_no_litter(&destination);
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_equal(&source, &destination);
    }
}

/// One that a single task copies, and one that is cut in parts.
const SIZES: [usize; 2] = [600 << 10, 24 << 20];

fn a_file_that_shrinks_all_the_time_is_no_mixture() {
    for size in SIZES {
        copy_while_written(&Writer {
            size,
            step: |file, size, number| {
                let chunks = (size / CHUNK) as u64;
                match number % chunks {
                    0 => (0..chunks).for_each(|at| {
                        file.write_all_at(&stamped(number), at * CHUNK as u64).unwrap();
                    }),
                    gone => file.set_len((chunks - gone) * CHUNK as u64).unwrap(),
                }
            },
            // The last number, or while it is made whole again that and no more.
            whole: |bytes| bytes.len() % CHUNK == 0 && stamps(bytes).len() <= 2,
            grows: true,
        });
    }
}

fn a_file_that_is_truncated_all_the_time_is_no_mixture() {
    for size in SIZES {
        copy_while_written(&Writer {
            size,
            step: |file, size, number| {
                file.set_len(0).unwrap();
                for at in 0..size / CHUNK {
                    file.write_all_at(&stamped(number), (at * CHUNK) as u64).unwrap();
                }
            },
            whole: |bytes| bytes.len() % CHUNK == 0 && stamps(bytes).len() <= 1,
            grows: true,
        });
    }
}

fn a_file_that_is_rewritten_all_the_time_is_reported() {
    for size in SIZES {
        copy_while_written(&Writer {
            size,
            step: |file, size, number| {
                for at in 0..size / CHUNK {
                    file.write_all_at(&stamped(number), (at * CHUNK) as u64).unwrap();
                }
            },
            // What is written so far, and the rest of the last time.
            whole: |bytes| match stamps(bytes)[..] {
                [_] => true,
                [new, old] => new == old + 1,
                _ => false,
            },
            grows: false,
        });
    }
}

type Change = (&'static str, fn(&mut Vec<u8>), usize);

/// What another process does to a file while it is read, and how many reads of it an attempt then takes.
const CHANGES: [Change; 3] = [
    // Less than there should be: one more read shows that this is the end.
    ("shrinks", |bytes| bytes.truncate(bytes.len() - 1), 2),
    // A second look finds that this is no state that it was in.
    ("has another start", |bytes| bytes[0] = bytes[0].wrapping_add(1), 2),
    (
        "has another end",
        |bytes| bytes.iter_mut().rev().take(1).for_each(|byte| *byte = byte.wrapping_add(1)),
        2,
    ),
];

fn three_changes_are_too_many() {
    let (fuse, home) = (Fuse::new(), scratch());
    for &engine in ENGINES.iter() {
        for ((what, change, reads), size) in
            CHANGES.into_iter().flat_map(|change| [(change, 1000), (change, 200_000)])
        {
            let place = format!("{engine} {what} {size}");
            let (source, destination) = (fuse.path().join(&place), home.path().join(&place));
            file(source.join("torn"), noise(1, size));
            file(source.join("other"), "other");
            file(destination.join("torn"), "old");
            fuse.spoil(Call::Read, "torn", Effect::Change(change), usize::MAX);
            let ran = sync_with(engine, &[], &source, &destination).exits(23);
            assert_eq!(fuse.spoiled(Call::Read), 3 * reads, "it is read three times: {what}, {ran:?}");
            fuse.release();
            let torn = source.join("torn");
            let line = format!(
                "ringsync: read source {}: it changed while it was being read, each of 3 times: DST keeps what it had \
                 (--take-changing takes what was read last)\n",
                torn.display()
            );
            assert_eq!(ran.err, line);
            assert_eq!(fs::read(destination.join("torn")).unwrap(), b"old");
            assert_eq!(fs::read(destination.join("other")).unwrap(), b"other");
            assert_no_litter(&destination);
        }
    }
}

fn after_two_changes_the_third_copy_is_whole() {
    let (fuse, home) = (Fuse::new(), scratch());
    for &engine in ENGINES.iter() {
        for (what, change, reads) in CHANGES {
            for size in [1000, 200_000, 9 << 20] {
                let place = format!("{engine} {what} {size}");
                let (source, destination) = (fuse.path().join(&place), home.path().join(&place));
                file(source.join("torn"), noise(1, size));
                file(destination.join("torn"), "old");
                fuse.spoil(Call::Read, "torn", Effect::Change(change), 2 * reads);
                mode(source.join("torn"), 0o644);
                sync_with(engine, &["--chmod=F604"], &source, &destination).exits(0);
                assert_eq!(fuse.spoiled(Call::Read), 2 * reads, "it was disturbed: {what}");
                fuse.release();
                // What is wanted of the source is wanted of it each time that it is looked at.
                mode(source.join("torn"), 0o604);
                assert_equal(&source, &destination);
            }
        }
    }
}

/// Nothing is also what a file may hold: the second look finds it, and believes it.
fn a_file_that_is_emptied_becomes_empty() {
    let (fuse, home) = (Fuse::new(), scratch());
    for &engine in ENGINES.iter() {
        for size in [1000, 9 << 20] {
            let place = format!("{engine} {size}");
            let (source, destination) = (fuse.path().join(&place), home.path().join(&place));
            file(source.join("torn"), noise(1, size));
            file(destination.join("torn"), "old");
            fuse.spoil(Call::Read, "torn", Effect::Change(Vec::clear), 1);
            sync_with(engine, &[], &source, &destination).exits(0);
            assert_eq!(fuse.spoiled(Call::Read), 1);
            fuse.release();
            assert_equal(&source, &destination);
        }
    }
}

/// Files that are written to before and after they are read, both within one tick of a clock that gives them one time.
fn two_writes_in_one_tick_leave_nothing_stale() {
    const FILES: usize = 300;
    for &engine in ENGINES.iter() {
        for option in ["--no-hash", "--checksum"] {
            let mount = Mount::ramfs();
            let (source, destination) = (mount.path().join("src"), mount.path().join("dst"));
            let paths: Vec<PathBuf> =
                (0..FILES).map(|index| source.join(format!("{}/{index}", index % 7))).collect();
            let mut written_after = 0;
            for round in 0..4 {
                for path in &paths {
                    file(path, "before");
                    modified(path, 1_000, 0);
                    let copy = destination.join(path.strip_prefix(&source).unwrap());
                    // With --checksum it looks right at first.
                    file(&copy, if option == "--checksum" { "before" } else { "older" });
                }
                let over = AtomicBool::new(false);
                written_after += std::thread::scope(|scope| {
                    let writer = scope.spawn(|| write_around_the_read(&paths, &over));
                    let end = AtEnd(&over);
                    let ran = sync_with(engine, &[option], &source, &destination);
                    assert!(matches!(ran.code, Some(0 | 23)), "{ran:?}");
                    drop(end);
                    writer.join().unwrap()
                });
                // Nobody writes any more: what this run takes for equal is.
                sync_with(engine, &[], &source, &destination).exits(0);
                let stale = paths.iter().filter(|path| {
                    let copy = destination.join(path.strip_prefix(&source).unwrap());
                    fs::read(path).unwrap() != fs::read(copy).unwrap()
                });
                assert_eq!(stale.count(), 0, "stale of {FILES}, {engine} {option}, round {round}");
            }
            assert!(written_after > 0, "no file was written to after it was read");
        }
    }
}

/// Writes to all files now and then, and once more, with other contents, to each as soon as it has been read. Returns how
/// many these were.
fn write_around_the_read(paths: &[PathBuf], over: &AtomicBool) -> usize {
    let watcher = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC).unwrap();
    let open = |path: &PathBuf| {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        (inotify::add_watch(&watcher, path, inotify::WatchFlags::ACCESS).unwrap(), file)
    };
    let mut files: HashMap<i32, File> = paths.iter().map(open).collect();
    let mut events = [const { MaybeUninit::uninit() }; 4096];
    let mut reader = inotify::Reader::new(&watcher, &mut events);
    let (mut written, mut begun) = (0, None::<Instant>);
    while !over.load(Ordering::Relaxed) && !files.is_empty() {
        // Longer than a tick, so that there is one in which nothing is written.
        if begun.is_none_or(|begun| begun.elapsed() > Duration::from_millis(25)) {
            files.values().for_each(|file| file.write_all_at(b"before", 0).unwrap());
            begun = Some(Instant::now());
        }
        while let Ok(event) = reader.next() {
            if let Some(file) = files.remove(&event.wd()) {
                file.write_all_at(b"after!", 0).unwrap();
                written += 1;
            }
        }
    }
    written
}
