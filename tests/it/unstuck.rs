//! File systems that take metadata without an error and make something else of it: it is noticed by looking, told, and
//! nothing is copied again for it.

use std::fs;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;

use crate::schema::assert_described;
use crate::support::fuse::{Call, Effect, Fuse, Habit};
use crate::support::mount::Image;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, modified, noise, sparse};
use crate::support::{ENGINES, Ran, scratch, sync_with};

tests![
    modes_that_a_file_system_pretends_to_set_are_told: [Need::Fuse],
    owners_that_a_file_system_pretends_to_set_are_told: [Need::Fuse, Need::Root],
    whole_seconds_are_a_notice_and_no_difference: [Need::Fuse],
    microseconds_beside_finer_times_are_no_difference: [Need::Fuse],
    two_seconds_are_no_difference_either: [Need::Fuse],
    times_past_the_last_one_are_told: [Need::Fuse],
    a_time_that_looks_like_a_limit_is_a_time: [],
    a_time_that_is_set_with_another_one_alone_is_set_with_it: [Need::Fuse],
    a_time_that_moves_at_close_is_set_again: [Need::Fuse],
    where_no_time_stays_contents_decide: [Need::Fuse],
    large_files_come_in_order_where_nothing_else_is_taken: [Need::Fuse],
    backups_come_in_order_where_nothing_else_is_taken: [Need::Fuse],
    small_inodes_of_ext4_round_and_clamp: [Need::FileSystem("ext4")],
];

/// A run that must end like this, as JSON.
fn sync(engine: &str, options: &[&str], source: &Path, destination: &Path, code: i32) -> Ran {
    let ran = sync_with(engine, &[&["--json"], options].concat(), source, destination).exits(code);
    assert_described(&ran, &[]);
    ran
}

/// How many entries a run has made, replaced and linked, and how many it has mended.
fn done(ran: &Ran) -> (u64, u64) {
    let summary = ran.summary();
    let of = |name: &str| summary[name].as_u64().unwrap();
    (of("created") + of("updated") + of("linked"), of("metadata"))
}

fn notices(ran: &Ran) -> usize {
    ran.json().iter().filter(|line| line["event"] == "notice").count()
}

/// A source of two files, one with an ordinary time and one far in the future.
fn source(home: &Path) -> std::path::PathBuf {
    let source = home.join("src");
    for (name, seconds) in [("d/f", 1_000_000_000), ("d/late", 5_000_000_000)] {
        file(source.join(name), "contents");
        mode(source.join(name), 0o640);
        modified(source.join(name), seconds, 123_456_789);
    }
    modified(source.join("d"), 1_000_000_001, 1);
    source
}

fn modes_that_a_file_system_pretends_to_set_are_told() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        fuse.get_into(Habit::Mode(0o600));
        let (source, destination) = (source(home.path()), fuse.path().join("dst"));
        let ran = sync(engine, &[], &source, &destination, 23);
        assert!(ran.err.contains("d/f: 0640 became 0600 (--no-perms leaves modes alone)"), "{}", ran.err);
        assert_eq!(fs::read_to_string(destination.join("d/f")).unwrap(), "contents");
        let again = sync(engine, &[], &source, &destination, 23);
        assert_eq!(done(&again), (0, 0), "{}", again.out);
        assert!(again.err.contains("0640 became 0600"), "{}", again.err);
        assert_eq!(done(&sync(engine, &["--no-perms"], &source, &destination, 0)), (0, 0));
    }
}

fn owners_that_a_file_system_pretends_to_set_are_told() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        fuse.get_into(Habit::Owner(0));
        let (source, destination) = (source(home.path()), fuse.path().join("dst"));
        lchown(source.join("d/f"), Some(7), Some(8)).unwrap();
        mode(source.join("d/f"), 0o4755);
        let ran = sync(engine, &[], &source, &destination, 23);
        assert!(ran.err.contains("d/f: 7:8 became 0:0 (--no-owner with --no-group leaves"), "{}", ran.err);
        let again = sync(engine, &[], &source, &destination, 23);
        assert_eq!(done(&again), (0, 0), "{}", again.out);
        assert_eq!(
            fs::metadata(destination.join("d/f")).unwrap().mode() & 0o7777,
            0o755,
            "not root's own setuid"
        );
    }
}

fn whole_seconds_are_a_notice_and_no_difference() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        fuse.get_into(Habit::Seconds);
        let (source, destination) = (source(home.path()), fuse.path().join("dst"));
        let ran = sync(engine, &[], &source, &destination, 0);
        assert_eq!(notices(&ran), 1, "{}", ran.out);
        assert!(ran.err.contains(".123456789Z became "), "{}", ran.err);
        let again = sync(engine, &[], &source, &destination, 0);
        assert_eq!((done(&again), notices(&again)), ((0, 0), 0), "{}", again.out);
        // Within the same second nothing could tell, so that the size does.
        file(source.join("d/f"), "longer contents");
        sync(engine, &[], &source, &destination, 0);
        assert_eq!(fs::read_to_string(destination.join("d/f")).unwrap(), "longer contents");
        file(source.join("d/late"), "Contents");
        modified(source.join("d/late"), 5_000_000_001, 0);
        assert_eq!(done(&sync(engine, &[], &source, &destination, 0)).0, 1, "a second later");
    }
}

/// As a program has it that cuts times, and passes on the change times of what lies below.
fn microseconds_beside_finer_times_are_no_difference() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        fuse.get_into(Habit::Microseconds);
        let (source, destination) = (source(home.path()), fuse.path().join("dst"));
        let ran = sync(engine, &[], &source, &destination, 0);
        assert_eq!(notices(&ran), 1, "{}", ran.out);
        let again = sync(engine, &[], &source, &destination, 0);
        assert_eq!(done(&again), (0, 0), "{}", again.out);
        file(source.join("d/f"), "CONTENTS");
        modified(source.join("d/f"), 1_000_000_000, 123_457_000);
        assert_eq!(done(&sync(engine, &[], &source, &destination, 0)).0, 1, "a microsecond later");
        assert_eq!(fs::read_to_string(destination.join("d/f")).unwrap(), "CONTENTS");
        let linked = sync(engine, &["--link-dest=../dst"], &source, &fuse.path().join("next"), 0);
        assert_eq!(linked.summary()["linked"].as_u64(), Some(2), "{}", linked.out);
    }
}

fn two_seconds_are_no_difference_either() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        fuse.get_into(Habit::TwoSeconds);
        let (source, destination) = (source(home.path()), fuse.path().join("dst"));
        modified(source.join("d/f"), 1_000_000_001, 5);
        let ran = sync(engine, &[], &source, &destination, 0);
        assert_eq!((notices(&ran), done(&ran).0), (1, 4), "{}", ran.out);
        let again = sync(engine, &[], &source, &destination, 0);
        assert_eq!(done(&again), (0, 0), "{}", again.out);
        file(source.join("d/f"), "CONTENTS");
        modified(source.join("d/f"), 1_000_000_002, 0);
        assert_eq!(done(&sync(engine, &[], &source, &destination, 0)).0, 1, "two seconds later");
    }
}

fn times_past_the_last_one_are_told() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        fuse.get_into(Habit::Until(i32::MAX as u64));
        let (source, destination) = (source(home.path()), fuse.path().join("dst"));
        let ran = sync(engine, &[], &source, &destination, 23);
        assert!(
            ran.err.contains("d/late: 2128-06-11T08:53:20.123456789Z became 2038-01-19T03:14:07Z"),
            "{}",
            ran.err
        );
        assert!(!ran.err.contains("d/f"), "{}", ran.err);
        let again = sync(engine, &[], &source, &destination, 23);
        assert_eq!(done(&again), (0, 0), "{}", again.out);
        assert_new_contents_come(engine, &source, &destination);
        sync(engine, &["--no-times"], &source, &destination, 0);
    }
}

/// Of the file whose time can't be held: it is the same before and after.
fn assert_new_contents_come(engine: &str, source: &Path, destination: &Path) {
    file(source.join("d/late"), "CONTENTS");
    modified(source.join("d/late"), 5_000_000_777, 1);
    let brought = sync(engine, &[], source, destination, 23);
    assert_eq!(done(&brought).0, 1, "{}", brought.out);
    assert_eq!(fs::read_to_string(destination.join("d/late")).unwrap(), "CONTENTS");
    let again = sync(engine, &[], source, destination, 23);
    assert_eq!(done(&again), (0, 0), "{}", again.out);
}

/// Where the file system has all these times.
fn a_time_that_looks_like_a_limit_is_a_time() {
    let limits =
        [(315_532_800, 10), (i64::from(i32::MAX), 2_200_000_000), (i64::from(u32::MAX), 5_000_000_000)];
    for &engine in ENGINES.iter() {
        for (have, want) in limits {
            let home = scratch();
            let (source, destination) = (home.path().join("src"), home.path().join("dst"));
            for (tree, contents, seconds) in [(&source, "new", want), (&destination, "old", have)] {
                file(tree.join("f"), contents);
                modified(tree.join("f"), seconds, 0);
                modified(tree, 1_000_000_000, 0);
            }
            let linked = home.path().join("linked");
            sync(engine, &["--link-dest=../dst"], &source, &linked, 0);
            assert_eq!(fs::read_to_string(linked.join("f")).unwrap(), "new", "{have}");
            let told = sync(engine, &["-n"], &source, &destination, 0);
            assert_eq!(done(&told).0, 1, "{}", told.out);
            sync(engine, &[], &source, &destination, 0);
            assert_eq!(fs::read_to_string(destination.join("f")).unwrap(), "new", "{have}");
        }
    }
}

fn a_time_that_is_set_with_another_one_alone_is_set_with_it() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        fuse.get_into(Habit::TimesTogether);
        let (source, destination) = (source(home.path()), fuse.path().join("dst"));
        sync(engine, &[], &source, &destination, 0);
        assert_eq!(fs::metadata(destination.join("d/f")).unwrap().mtime_nsec(), 123_456_789);
        assert_eq!(done(&sync(engine, &[], &source, &destination, 0)), (0, 0));
    }
}

fn a_time_that_moves_at_close_is_set_again() {
    for (&engine, options) in
        ENGINES.iter().flat_map(|engine| [&[][..], &["--inplace"]].map(|options| (engine, options)))
    {
        let (home, fuse) = (scratch(), Fuse::new());
        fuse.get_into(Habit::TimesAtClose);
        let (source, destination) = (source(home.path()), fuse.path().join("dst"));
        file(destination.join("d/f"), "older");
        sync(engine, options, &source, &destination, 0);
        for (name, seconds) in [("d/f", 1_000_000_000), ("d/late", 5_000_000_000)] {
            assert_eq!(fs::metadata(destination.join(name)).unwrap().mtime(), seconds, "{name}");
        }
        assert_eq!(done(&sync(engine, options, &source, &destination, 0)), (0, 0));
    }
}

fn where_no_time_stays_contents_decide() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        fuse.get_into(Habit::NoTimes);
        let (source, destination) = (source(home.path()), fuse.path().join("dst"));
        let ran = sync(engine, &[], &source, &destination, 23);
        assert!(ran.err.contains("(--no-times leaves times alone)"), "{}", ran.err);
        let again = sync(engine, &[], &source, &destination, 23);
        assert_eq!(done(&again), (0, 0), "{}", again.out);
        file(source.join("d/f"), "CONTENTS");
        assert_eq!(done(&sync(engine, &[], &source, &destination, 23)), (1, 0), "of the same size");
        assert_eq!(fs::read_to_string(destination.join("d/f")).unwrap(), "CONTENTS");
        let linked = sync(engine, &["--link-dest=../dst"], &source, &fuse.path().join("next"), 23);
        assert_eq!(linked.summary()["linked"].as_u64(), Some(2), "{}", linked.out);
    }
}

/// As FAT's program has it.
fn large_files_come_in_order_where_nothing_else_is_taken() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        fuse.get_into(Habit::InOrder);
        let (source, destination) = (home.path().join("src"), fuse.path().join("dst"));
        // All of them may have begun before the first is refused.
        let large = ["one", "two", "three", "four", "five", "six"].map(|name| format!("{name}/large"));
        for name in &large {
            file(source.join(name), noise(3, 9 << 20));
        }
        fs::create_dir(source.join("d")).unwrap();
        sparse(source.join("d/holes"), 5 << 20, &[(1 << 20, b"data")]);
        let ran = sync(engine, &[], &source, &destination, 0);
        assert_eq!(ran.summary()["bytes"], 59 << 20, "each byte counts once: {}", ran.out);
        for name in large.iter().map(String::as_str).chain(["d/holes"]) {
            let same = fs::read(source.join(name)).unwrap() == fs::read(destination.join(name)).unwrap();
            assert!(same, "{name}: {}", ran.out);
        }
        assert_eq!(done(&sync(engine, &[], &source, &destination, 0)), (0, 0));
    }
}

/// A copy stands in for a link there, and gets the size that it has by then.
fn backups_come_in_order_where_nothing_else_is_taken() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        fuse.get_into(Habit::InOrder);
        fuse.spoil(Call::Link, "", Effect::Fail(libc::EPERM), usize::MAX);
        let (source, destination) = (home.path().join("src"), fuse.path().join("dst"));
        for (name, size) in [("small", 3000), ("large", 9 << 20)] {
            file(source.join(name), noise(1, size));
        }
        sync(engine, &[], &source, &destination, 0);
        for (name, size) in [("small", 3000), ("large", 9 << 20)] {
            file(source.join(name), noise(2, size));
        }
        sync(engine, &["--backup"], &source, &destination, 0);
        for (name, size) in [("small", 3000), ("large", 9 << 20)] {
            assert!(fs::read(destination.join(name)).unwrap() == noise(2, size), "{engine}: {name}");
            let old = fs::read(destination.join(format!("{name}~"))).unwrap();
            assert!(old == noise(1, size), "{engine}: {name}");
        }
    }
}

/// Inodes of 128 bytes have no room for more.
fn small_inodes_of_ext4_round_and_clamp() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let image = Image::new("ext4", "32M", &["-I", "128"]);
        let mount = image.mount();
        let (source, destination) = (source(home.path()), mount.path().join("dst"));
        let ran = sync(engine, &[], &source, &destination, 23);
        assert_eq!((notices(&ran), ran.err.lines().count()), (1, 2), "{}", ran.err);
        assert!(ran.err.contains("became 2038-01-19T03:14:07Z (--no-times"), "{}", ran.err);
        let again = sync(engine, &[], &source, &destination, 23);
        assert_eq!(done(&again), (0, 0), "{}", again.out);
        let linked = sync(engine, &["--link-dest=../dst"], &source, &mount.path().join("next"), 23);
        assert_eq!(linked.summary()["linked"].as_u64(), Some(2), "{}", linked.out);
        assert_new_contents_come(engine, &source, &destination);
        file(source.join("d/late"), "CoNtEnTs");
        modified(source.join("d/late"), 5_000_000_999, 1);
        let made = sync(engine, &["--link-dest=../dst"], &source, &mount.path().join("last"), 23);
        assert_eq!(made.summary()["created"].as_u64(), Some(3), "with d/late: {}", made.out);
        assert_eq!(fs::read_to_string(mount.path().join("last/d/late")).unwrap(), "CoNtEnTs");
        fs::remove_file(source.join("d/late")).unwrap();
        sync(engine, &["--delete"], &source, &destination, 0);
    }
}
