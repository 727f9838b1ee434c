//! Sources that move while they are read: what is one state that they had is kept, and the rest is marked or refused.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::snapshots::{list, take};
use crate::support::fuse::{Call, Effect, Fuse};
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, modified, noise};
use crate::support::{
    ENGINES, Ran, assert_equal, assert_no_litter, meanwhile, program, run, scratch, sync_with,
};

tests![
    a_file_whose_inode_alone_changes_is_whole: [Need::Fuse],
    a_file_that_others_link_and_chmod_all_the_time_is_whole,
    a_file_that_grows_is_kept_as_it_was: [Need::Fuse],
    a_log_that_is_written_to_all_the_time_is_copied,
    a_file_whose_times_never_stand_still_is_whole: [Need::Fuse],
    a_second_look_is_no_look_at_what_the_kernel_keeps: [Need::Fuse],
    what_changes_is_taken_on_demand_and_marked: [Need::Fuse],
    what_is_cut_off_each_time_is_taken_on_demand: [Need::Fuse],
    a_mixture_is_replaced_though_its_source_has_its_old_time: [Need::Fuse],
    a_tree_of_logs_is_a_handful_of_lines: [Need::Fuse],
    a_snapshot_of_what_changes_marks_it: [Need::Fuse],
    a_snapshot_of_a_log_that_grows_is_complete: [Need::Fuse],
    what_is_trusted_to_be_appended_to_is_sampled,
];

pub const GROW: Effect = Effect::Change(|bytes| bytes.push(1));

/// Sizes that are read at once, in pieces, and in segments.
pub const SIZES: [usize; 3] = [1000, 200_000, 20 << 20];

/// Trees on a file system that changes files as they are read, and elsewhere.
fn trees(fuse: &Fuse, home: &Path, place: &str) -> (PathBuf, PathBuf) {
    (fuse.path().join(place), home.join(place))
}

/// A case for each engine and size, with trees of its own: the source's lies on the file system that changes files.
pub fn each(sizes: &[usize], case: impl Fn(&Fuse, &str, usize, &Path, &Path)) {
    let (fuse, home) = (Fuse::new(), scratch());
    for &engine in ENGINES.iter() {
        for &size in sizes {
            let (source, destination) = trees(&fuse, home.path(), &format!("{engine}{size}"));
            case(&fuse, engine, size, &source, &destination);
        }
    }
}

/// A number of the line that closes JSON.
pub fn count(ran: &Ran, key: &str) -> u64 {
    ran.summary()[key].as_u64().unwrap_or_else(|| panic!("no {key}: {ran:?}"))
}

fn a_file_whose_inode_alone_changes_is_whole() {
    let (fuse, home) = (Fuse::new(), scratch());
    for &engine in ENGINES.iter() {
        for (options, size) in [&[][..], &["--no-hash"], &["--verify"]]
            .into_iter()
            .flat_map(|options| SIZES.map(|size| (options, size)))
        {
            let (source, destination) =
                trees(&fuse, home.path(), &format!("{engine}{}{size}", options.concat()));
            file(source.join("f"), noise(1, size));
            mode(source.join("f"), 0o644);
            fuse.spoil(Call::Read, "f", Effect::Mode(0o604), usize::MAX);
            let ran = sync_with(engine, options, &source, &destination).exits(0);
            assert!(fuse.spoiled(Call::Read) >= 2, "it is looked at twice");
            fuse.release();
            assert_eq!(ran.err, "");
            assert_eq!(fs::metadata(destination.join("f")).unwrap().permissions().mode() & 0o777, 0o604);
            assert_equal(&source, &destination);
        }
    }
}

fn a_file_that_others_link_and_chmod_all_the_time_is_whole() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for (name, size) in [("small", 600 << 10), ("large", 24 << 20)] {
            file(source.join(name), noise(1, size));
        }
        let step = || {
            for name in ["small", "large"] {
                let (one, other) = (source.join(name), home.path().join(name));
                fs::hard_link(&one, &other).unwrap();
                mode(&one, 0o640);
                fs::remove_file(&other).unwrap();
                mode(&one, 0o600);
            }
        };
        meanwhile(step, || {
            for _ in 0..10 {
                fs::remove_dir_all(&destination).ok();
                let ran = sync_with(engine, &[], &source, &destination).exits(0);
                assert_eq!(ran.err, "");
                for name in ["small", "large"] {
                    assert_eq!(
                        fs::read(source.join(name)).unwrap(),
                        fs::read(destination.join(name)).unwrap()
                    );
                }
            }
        });
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_equal(&source, &destination);
    }
}

fn a_file_that_grows_is_kept_as_it_was() {
    let (fuse, home) = (Fuse::new(), scratch());
    for &engine in ENGINES.iter() {
        for (options, size) in [&["--json"][..], &["--json", "--no-hash"], &["--json", "--inplace"]]
            .into_iter()
            .flat_map(|options| SIZES.map(|size| (options, size)))
        {
            let (source, destination) =
                trees(&fuse, home.path(), &format!("{engine}{}{size}", options.concat()));
            let bytes = noise(1, size);
            file(source.join("log"), &bytes);
            modified(source.join("log"), 1_000_000, 5);
            file(destination.join("log"), "older");
            // It grows when a part of it has been read, if there are several: else nobody knows when it did.
            let is_known = size > 1 << 20;
            fuse.spoil_after(if is_known { 15 } else { 0 }, Call::Read, GROW);
            let ran = sync_with(engine, options, &source, &destination).exits(0);
            fuse.release();
            assert_eq!(count(&ran, "grew"), 1);
            assert!(ran.out.contains(r#""live":"grew""#), "{}", ran.out);
            assert_eq!(
                ran.err,
                "ringsync: log grew while it was read: the copy is what it was before, the next run brings the rest\n"
            );
            assert_eq!(fs::read(destination.join("log")).unwrap(), bytes, "no more than it had at first");
            let have = fs::metadata(destination.join("log")).unwrap();
            assert_eq!((have.mtime(), have.mtime_nsec()), (1_000_000, if is_known { 5 } else { 4 }));
            assert_no_litter(&destination);
            let ran = sync_with(engine, options, &source, &destination).exits(0);
            assert_eq!((count(&ran, "grew"), count(&ran, "updated")), (0, 1));
            assert_equal(&source, &destination);
        }
    }
}

fn a_log_that_is_written_to_all_the_time_is_copied() {
    for &engine in ENGINES.iter() {
        for size in [0, 600 << 10, 24 << 20] {
            let home = scratch();
            let (source, destination) = (home.path().join("src"), home.path().join("dst"));
            file(source.join("log"), vec![b'x'; size]);
            let log = OpenOptions::new().append(true).open(source.join("log")).unwrap();
            let mut line = 0_u64;
            let step = || {
                line += 1;
                (&log).write_all(format!("{line}\n").as_bytes()).unwrap();
            };
            let grew = meanwhile(step, || {
                let ran = |_| {
                    let ran = sync_with(engine, &["--json"], &source, &destination).exits(0);
                    let (copy, log) =
                        (fs::read(destination.join("log")).unwrap(), fs::read(source.join("log")).unwrap());
                    assert!(log.starts_with(&copy) && copy.len() >= size, "no state that it had");
                    count(&ran, "grew")
                };
                // Another process may keep the writer from writing for the moment a copy takes.
                (0..200).map(ran).find(|grew| *grew == 1)
            });
            assert_eq!(grew, Some(1), "no copy was disturbed");
            sync_with(engine, &[], &source, &destination).exits(0);
            assert_equal(&source, &destination);
        }
    }
}

fn a_file_whose_times_never_stand_still_is_whole() {
    each(&SIZES, |fuse, engine, size, source, destination| {
        let bytes = noise(1, size);
        file(source.join("f"), &bytes);
        fuse.spoil(Call::Getattr, "f", Effect::Change(|_| ()), usize::MAX);
        fuse.spoil(Call::Read, "f", Effect::Change(|_| ()), usize::MAX);
        let ran = sync_with(engine, &[], source, destination).exits(0);
        fuse.release();
        assert_eq!(ran.err, "");
        assert_eq!(fs::read(destination.join("f")).unwrap(), bytes);
    });
}

/// The kernel has the pages of the first look, between which the file changed, and is not told that they are old.
fn a_second_look_is_no_look_at_what_the_kernel_keeps() {
    let change_both = |bytes: &mut Vec<u8>| {
        for at in [0, bytes.len() - 1] {
            bytes[at] = bytes[at].wrapping_add(1);
        }
    };
    each(&SIZES[1..], |fuse, engine, size, source, destination| {
        fuse.keep_pages();
        file(source.join("f"), noise(1, size));
        fuse.spoil(Call::Read, "f", Effect::Change(change_both), usize::MAX);
        sync_with(engine, &[], source, destination).exits(23);
        fuse.release();
        assert!(!destination.join("f").exists());
    });
}

pub const CHANGE_START: fn(&mut Vec<u8>) = |bytes| bytes[0] = bytes[0].wrapping_add(1);

fn what_changes_is_taken_on_demand_and_marked() {
    each(&SIZES, |fuse, engine, size, source, destination| {
        let bytes = noise(1, size);
        file(source.join("d/db"), &bytes);
        file(source.join("still"), "still");
        file(destination.join("d/db"), "older");
        fuse.spoil(Call::Read, "db", Effect::Change(CHANGE_START), usize::MAX);
        let sums = destination.with_extension("sums");
        let options = ["--json", "--take-changing", "--manifest", sums.to_str().unwrap()];
        let ran = sync_with(engine, &options, source, destination).exits(0);
        fuse.release();
        assert_eq!(count(&ran, "changing"), 1);
        assert!(ran.out.contains(r#""live":"changing""#), "{}", ran.out);
        let told = "d/db changed each time that it was read: the copy may be a mixture of what it was\n";
        assert_eq!(ran.err, format!("ringsync: {told}"));
        assert_eq!(fs::read(destination.join("d/db")).unwrap()[1..], bytes[1..]);
        let lines = fs::read_to_string(&sums).unwrap();
        let lines: Vec<_> = lines.lines().collect();
        let mark = lines.iter().position(|line| *line == "# changing: d/db").expect("a mark");
        assert!(lines[mark + 1].ends_with("  d/db") && lines.len() == 3, "{lines:?}");
        let mut verify = Command::new(program());
        verify.arg("verify").arg(&sums).arg(destination);
        run(verify).exits(0);
        assert_no_litter(destination);
        let ran = sync_with(engine, &["--json"], source, destination).exits(0);
        assert_eq!(count(&ran, "updated"), 1, "it is no state that SRC has: it is copied again");
        assert_equal(source, destination);
    });
}

fn what_is_cut_off_each_time_is_taken_on_demand() {
    each(&SIZES, |fuse, engine, size, source, destination| {
        let bytes = noise(1, size);
        file(source.join("f"), &bytes);
        fuse.spoil(Call::Read, "f", Effect::Change(|bytes| bytes.truncate(bytes.len() - 1)), usize::MAX);
        let ran = sync_with(engine, &["--json", "--take-changing"], source, destination).exits(0);
        fuse.release();
        assert_eq!(count(&ran, "changing"), 1);
        let copy = fs::read(destination.join("f")).unwrap();
        assert!(bytes.starts_with(&copy) && copy.len() > size / 2, "{} of {size}", copy.len());
        sync_with(engine, &[], source, destination).exits(0);
        assert_equal(source, destination);
    });
}

/// Who writes and sets the time back leaves no other trace than that the inode changed.
fn a_mixture_is_replaced_though_its_source_has_its_old_time() {
    each(&SIZES, |fuse, engine, size, source, destination| {
        file(source.join("db"), noise(1, size));
        modified(source.join("db"), 2_000_000, 7);
        fuse.spoil(Call::Read, "db", Effect::Sneak(CHANGE_START), usize::MAX);
        sync_with(engine, &[], source, destination).exits(23);
        assert!(!destination.join("db").exists());
        sync_with(engine, &["--take-changing"], source, destination).exits(0);
        fuse.release();
        assert_eq!(fs::metadata(source.join("db")).unwrap().mtime(), 2_000_000);
        sync_with(engine, &["--modify-window=3"], source, destination).exits(0);
        assert_equal(source, destination);
    });
}

fn a_snapshot_of_a_log_that_grows_is_complete() {
    let (fuse, home) = (Fuse::new(), scratch());
    let (source, store) = (fuse.path().join("src"), home.path().join("store"));
    file(source.join("log"), noise(1, 9 << 20));
    for night in 1..=2 {
        fuse.spoil(Call::Read, "log", Effect::Change(|bytes| bytes.push(1)), usize::MAX);
        let before = fs::metadata(source.join("log")).unwrap().len();
        let ran = take(&source, &store, &[], 0);
        assert!(ran.err.contains("log grew while it was read"), "{ran:?}");
        fuse.release();
        let snapshots = list(&store);
        assert_eq!(snapshots.len(), night);
        assert_eq!(snapshots[night - 1]["complete"], true, "{snapshots:?}");
        assert_eq!(fs::metadata(store.join("latest/log")).unwrap().len(), before);
    }
}

fn a_snapshot_of_what_changes_marks_it() {
    let (fuse, home) = (Fuse::new(), scratch());
    let (source, store) = (fuse.path().join("src"), home.path().join("store"));
    file(source.join("d/db"), noise(1, 9 << 20));
    file(source.join("still"), "still");
    fuse.spoil(Call::Read, "db", Effect::Change(CHANGE_START), usize::MAX);
    let ran = take(&source, &store, &["--name=mixed"], 23);
    assert!(ran.err.contains("d/db: it changed while it was being read"), "{ran:?}");
    fuse.spoil(Call::Read, "db", Effect::Change(CHANGE_START), usize::MAX);
    let ran = take(&source, &store, &["--take-changing", "--name=taken"], 0);
    fuse.release();
    assert!(ran.err.contains("d/db changed each time that it was read"), "{ran:?}");
    take(&source, &store, &["--name=still"], 0);
    let manifest = |name: &str| {
        let lines = fs::read_to_string(store.join(format!(".ringsync/manifests/{name}.b3"))).unwrap();
        lines
            .lines()
            .map(|line| line.get(66..).filter(|_| !line.starts_with('#')).unwrap_or(line).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(manifest("mixed"), ["still"]);
    assert_eq!(manifest("taken"), ["# changing: d/db", "d/db", "still"]);
    assert_eq!(manifest("still"), ["d/db", "still"]);
    let told: Vec<_> =
        list(&store).iter().map(|one| (one["changing"].as_u64(), one["complete"].as_bool())).collect();
    assert_eq!(told, [(Some(0), Some(false)), (Some(1), Some(true)), (Some(0), Some(true))]);
    assert_equal(&source.join("d"), &store.join("still/d"));
    let mut restore = Command::new(program());
    restore
        .args(["snapshot", "restore", "--verify"])
        .arg(format!("{}@taken", store.display()))
        .arg(home.path().join("back"));
    run(restore).exits(0);
}

fn a_tree_of_logs_is_a_handful_of_lines() {
    let (fuse, home) = (Fuse::new(), scratch());
    for &engine in ENGINES.iter() {
        let (source, destination) = trees(&fuse, home.path(), engine);
        for number in 0..20 {
            file(source.join(format!("{number}/log")), noise(number, 1000));
        }
        fuse.spoil(Call::Read, "log", Effect::Change(|bytes| bytes.push(1)), usize::MAX);
        let log = home.path().join("run.log");
        let options = ["--log-file", log.to_str().unwrap()];
        let ran = sync_with(engine, &options, &source, &destination).exits(0);
        assert_eq!(ran.err.lines().count(), 4, "{}", ran.err);
        let rest = "files that grew while they were read: the same for 17 more entries";
        assert!(ran.err.ends_with(&format!("ringsync: {rest}\n")), "{}", ran.err);
        assert!(ran.out.contains("; 20 grew"), "{}", ran.out);
        let logged = fs::read_to_string(&log).unwrap();
        assert!(logged.contains(rest) && !logged.contains("error"), "{logged}");
        fs::remove_file(&log).unwrap();
        let ran = sync_with(engine, &["--quiet"], &source, &destination).exits(0);
        assert_eq!(ran.err, "");
        fuse.release();
    }
}

/// A byte that no sample meets, in the middle of a hole of more than 1 GiB, shows whether all was looked at.
fn what_is_trusted_to_be_appended_to_is_sampled() {
    const SIZE: u64 = (1 << 30) + (64 << 20);
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("log"), "");
        let log = OpenOptions::new().write(true).open(source.join("log")).unwrap();
        log.set_len(SIZE).unwrap();
        let mut end = SIZE;
        let step = || {
            log.write_all_at(b"more", end).unwrap();
            log.write_all_at(&end.to_le_bytes(), SIZE / 256 * 100 + (1 << 20)).unwrap();
            end += 4;
        };
        meanwhile(step, || {
            // Another process may keep the writer from writing for the moment a copy takes.
            let any = |options: &[&str], is_so: &dyn Fn(&Ran) -> bool| {
                (0..100).any(|_| {
                    fs::remove_file(destination.join("log")).ok();
                    is_so(&sync_with(engine, options, &source, &destination))
                })
            };
            assert!(any(&["--trust-append", "--json"], &|ran| ran.code == Some(0) && count(ran, "grew") == 1));
            assert!(any(&["--json"], &|ran| ran.code == Some(23)));
        });
    }
}
