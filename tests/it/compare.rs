//! What counts as changed and what is left alone: `sync` leaves the tree that rsync leaves with the same options.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::{lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::FileType;

use crate::support::changed::{files, link, mirror, unmoved};
use crate::support::needs::{Need, tests};
use crate::support::tree::{differences, file, mode, modified, node, snapshot, xattr};
use crate::support::user::{ALICE, as_alice, give_tree};
use crate::support::{ENGINES, Ran, assert_equal, program, run, scratch, sync_with, tool};

tests![
    sync_leaves_what_rsync_leaves: [Need::Root, Need::Tool("rsync")],
    check_finds_what_rsync_finds: [Need::Root, Need::Tool("rsync")],
    update_leaves_alone_what_is_newer_by_less_than_a_second,
    a_directory_is_left_alone_with_all_that_is_in_it: [Need::Root],
    existing_makes_nothing_even_where_it_replaces: [Need::Root, Need::Tool("setpriv")],
    a_window_does_not_spoil_the_times_of_what_is_new: [Need::Root],
    what_is_left_alone_is_in_the_manifest,
    a_window_is_a_number_of_seconds,
    a_window_holds_for_directories: [Need::Tool("rsync")],
    with_checksum_attributes_are_mended,
];

/// The time that all is of, unless it is said.
const NOW: i64 = 1_500_000_000;
const NANOSECONDS: i64 = 300_000_000;

/// Options, and whether rsync is to compare nanoseconds, as is our default. With `--update` it then takes what is newer
/// by less than two seconds for older, which its manual does not have. Nor does it say that `--checksum` mends times within
/// the window, which would do so again and again where they can't be kept: these two are not combined.
const OPTIONS: [(&[&str], bool); 22] = [
    (&[], true),
    (&["--modify-window=-1"], true),
    (&["--modify-window=0"], false),
    (&["--modify-window=1"], false),
    (&["-@2"], false),
    (&["-c"], true),
    (&["--size-only"], true),
    (&["--size-only", "--modify-window=1"], false),
    (&["-I"], true),
    (&["-I", "--size-only"], true),
    (&["-c", "-I"], true),
    (&["-c", "--size-only"], true),
    (&["--update", "--modify-window=0"], false),
    (&["-u", "-I", "--modify-window=0"], false),
    (&["-u", "--size-only", "--modify-window=0"], false),
    (&["--existing"], true),
    (&["--ignore-non-existing", "-c"], true),
    (&["--existing", "-I"], true),
    (&["--existing", "-u", "--modify-window=0"], false),
    (&["--ignore-existing"], true),
    (&["--ignore-existing", "-I"], true),
    (&["--existing", "--ignore-existing"], true),
];

/// Two trees whose entries differ in every way that an option asks for.
fn trees(home: &Path) -> (PathBuf, PathBuf) {
    let (source, destination) = (home.join("src"), home.join("dst"));
    for root in [&source, &destination] {
        fs::create_dir(root).unwrap();
        for directory in ["have", "have/sub"] {
            fs::create_dir(root.join(directory)).unwrap();
        }
    }
    add_files(&source, &destination);
    add_others(&source, &destination);
    add_links(&source, &destination);
    for name in ["missing", "missing dir/file", "missing dir/sub/deep/file", "have/sub/missing"] {
        file(source.join(name), name);
    }
    fs::create_dir(source.join("missing dir/empty")).unwrap();
    file(destination.join("extra dir/file"), "extra");
    for root in [&source, &destination] {
        for entry in walkdir::WalkDir::new(root).contents_first(true) {
            let entry = entry.unwrap();
            let time = fs::symlink_metadata(entry.path()).unwrap().modified().unwrap();
            // What was given a time of its own keeps it.
            if entry.file_type().is_dir() || time.elapsed().is_ok_and(|age| age.as_secs() < 3600) {
                modified(entry.path(), NOW, NANOSECONDS);
            }
        }
    }
    mode(destination.join("have"), 0o700);
    modified(destination.join("have/sub"), NOW + 2, NANOSECONDS);
    (source, destination)
}

/// Files with every mixture of time, size, contents and mode.
fn add_files(source: &Path, destination: &Path) {
    let times = [
        ("older", NOW - 10, NANOSECONDS),
        ("as old", NOW, NANOSECONDS),
        ("newer by 0.4 s", NOW, NANOSECONDS + 400_000_000),
        ("newer by 1.2 s", NOW + 1, NANOSECONDS + 200_000_000),
        ("newer by 2.4 s", NOW + 2, NANOSECONDS + 400_000_000),
        ("newer", NOW + 10, NANOSECONDS),
    ];
    for (age, seconds, nanoseconds) in times {
        for (contents, bytes) in [("same", "contents"), ("changed", "CONTENTS"), ("longer", "more contents")]
        {
            for (permissions, bits) in [("", 0o644), (" closed", 0o600)] {
                let name = format!("{age} {contents}{permissions}");
                file(source.join(&name), "contents");
                modified(source.join(&name), NOW, NANOSECONDS);
                file(destination.join(&name), bytes);
                mode(destination.join(&name), bits);
                modified(destination.join(&name), seconds, nanoseconds);
            }
        }
    }
}

/// Symlinks, FIFOs and devices, and names that are of two types.
fn add_others(source: &Path, destination: &Path) {
    for age in [-10, 0, 1, 10] {
        let both = |name: String, one: &dyn Fn(&Path), other: &dyn Fn(&Path)| {
            one(&source.join(&name));
            other(&destination.join(&name));
            modified(source.join(&name), NOW, NANOSECONDS);
            modified(destination.join(&name), NOW + age, NANOSECONDS);
        };
        let to = |target: &'static str| move |path: &Path| symlink(target, path).unwrap();
        let fifo = |path: &Path| node(path, FileType::Fifo, (0, 0));
        let device = |number| move |path: &Path| node(path, FileType::CharacterDevice, (1, number));
        let plain = |path: &Path| file(path, "plain");
        let directory = |path: &Path| fs::create_dir(path).unwrap();
        both(format!("link {age}"), &to("target"), &to("target"));
        both(format!("link elsewhere {age}"), &to("target"), &to("elsewhere"));
        both(format!("fifo {age}"), &fifo, &fifo);
        both(format!("device {age}"), &device(3), &device(3));
        both(format!("other device {age}"), &device(3), &device(5));
        both(format!("file to link {age}"), &plain, &to("target"));
        both(format!("link to file {age}"), &to("target"), &plain);
        both(format!("file to fifo {age}"), &plain, &fifo);
        both(format!("file to directory {age}"), &plain, &directory);
    }
    for name in ["link missing", "have/link missing"] {
        symlink("target", source.join(name)).unwrap();
    }
    node(source.join("fifo missing"), FileType::Fifo, (0, 0));
    lchown(destination.join("link 10"), Some(7), Some(7)).unwrap();
}

/// Files with three names, some of which the destination has, older or newer.
fn add_links(source: &Path, destination: &Path) {
    for (group, have) in [
        ("all missing", [None, None, None]),
        ("first older", [Some(-10), None, None]),
        ("first newer", [Some(10), None, None]),
        ("second newer", [None, Some(10), None]),
        ("two newer", [Some(10), None, Some(10)]),
        ("mixed", [Some(10), Some(-10), Some(-10)]),
        ("last two", [None, Some(-10), Some(-10)]),
        ("apart", [Some(0), Some(0), Some(0)]),
    ] {
        let name = |index: usize| format!("h {group} {index}");
        file(source.join(name(0)), "linked");
        modified(source.join(name(0)), NOW, NANOSECONDS);
        for (index, age) in have.into_iter().enumerate() {
            if index > 0 {
                link(source.join(name(0)), source.join(name(index)));
            }
            if let Some(age) = age {
                let path = destination.join(name(index));
                file(&path, if age == 0 { "linked".into() } else { format!("its own {index}") });
                modified(path, NOW + age, NANOSECONDS);
            }
        }
    }
    for (group, age) in [("linked", 0), ("linked newer", 10), ("linked older", -10)] {
        for (root, age) in [(source, 0), (destination, age)] {
            let name = |index: usize| root.join(format!("h {group} {index}"));
            file(name(0), "linked");
            modified(name(0), NOW + age, NANOSECONDS);
            (1..3).for_each(|index| link(name(0), name(index)));
        }
    }
}

/// `rsync -aHAX OPTIONS`, in nanoseconds if that is asked for.
fn rsync(options: &[&str], nanoseconds: bool, source: &Path, destination: &Path) -> Ran {
    let mut command = Command::new("rsync");
    command.args(["-aHAXi", "--no-inc-recursive"]).args(nanoseconds.then_some("--modify-window=-1"));
    command.args(options).arg(source.join("")).arg(destination.join(""));
    run(command).exits(0)
}

/// How many entries a run made or replaced, and how many it left alone. Which of an inode's names leads, and so is not
/// linked, is settled by chance.
fn figures(ran: &Ran) -> [u64; 3] {
    let summary = ran.summary();
    let count = |action: &str| summary[action].as_u64().unwrap();
    [count("created") + count("updated") + count("linked"), count("skipped"), count("failed")]
}

fn copy(from: &Path, to: &Path) {
    tool("cp", &["-a", from.to_str().unwrap(), to.to_str().unwrap()]);
}

fn sync_leaves_what_rsync_leaves() {
    let home = scratch();
    let (source, destination) = trees(home.path());
    let before = snapshot(&destination);
    let mut outcomes = BTreeSet::new();
    for (options, nanoseconds) in OPTIONS {
        let theirs = home.path().join("theirs");
        copy(&destination, &theirs);
        rsync(options, nanoseconds, &source, &theirs);
        let expected = snapshot(&theirs);
        outcomes.insert(format!("{:?}", differences(&before, &expected)));
        for &engine in ENGINES.iter() {
            let ours = home.path().join("ours");
            copy(&destination, &ours);
            let dry = sync_with(engine, &[options, &["-n", "--json"]].concat(), &source, &ours).exits(0);
            assert_eq!(differences(&before, &snapshot(&ours)), [""; 0], "a dry run, {options:?}");
            let ran = sync_with(engine, &[options, &["--json"]].concat(), &source, &ours).exits(0);
            assert_eq!(differences(&expected, &snapshot(&ours)), [""; 0], "{options:?} {engine}");
            assert_eq!(figures(&dry), figures(&ran), "{options:?}");
            fs::remove_dir_all(ours).unwrap();
        }
        fs::remove_dir_all(theirs).unwrap();
    }
    assert!(outcomes.len() >= 15, "the options do make a difference: {}", outcomes.len());
}

fn check_finds_what_rsync_finds() {
    let home = scratch();
    let (source, destination) = trees(home.path());
    for (options, nanoseconds) in OPTIONS {
        let found = rsync(&[options, &["-n", "--delete"]].concat(), nanoseconds, &source, &destination);
        let expected: BTreeSet<&str> = found.out.lines().collect();
        for &engine in ENGINES.iter() {
            let mut command = Command::new(program());
            command.args(["check", "--engine", engine]).args(options).arg(&source).arg(&destination);
            let ran = run(command).exits(23);
            let mut lines: Vec<&str> = ran.out.lines().collect();
            lines.pop();
            let lines: BTreeSet<&str> = lines.into_iter().collect();
            let missed: Vec<_> = expected.difference(&lines).collect();
            let invented: Vec<_> = lines.difference(&expected).collect();
            assert!(missed.is_empty() && invented.is_empty(), "{options:?}\n-{missed:#?}\n+{invented:#?}");
        }
    }
}

fn update_leaves_alone_what_is_newer_by_less_than_a_second() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |root| {
            files(root, &["newer", "older", "as old", "h 1"]);
            ["h 2", "h 3"].iter().for_each(|name| link(root.join("h 1"), root.join(name)));
        });
        for (name, nanoseconds) in [("newer", 124), ("older", 122), ("as old", 123)] {
            file(destination.join(name), "its own contents");
            modified(destination.join(name), NOW, nanoseconds);
        }
        // A name between two others of its inode, which rsync would link to the first.
        fs::remove_file(destination.join("h 2")).unwrap();
        file(destination.join("h 2"), "its own contents");
        modified(destination.join("h 1"), NOW, 0);
        let ran = sync_with(engine, &["-u", "--json"], &source, &destination).exits(0);
        assert_eq!(ran.summary()["skipped"], 2);
        for name in ["newer", "h 2"] {
            assert_eq!(fs::read(destination.join(name)).unwrap(), b"its own contents");
            fs::remove_file(destination.join(name)).unwrap();
            fs::copy(source.join(name), destination.join(name)).unwrap();
            unmoved(destination.join(name));
        }
        fs::remove_file(source.join("h 2")).unwrap();
        copy(&destination.join("h 2"), &source.join("h 2"));
        unmoved(&source);
        unmoved(&destination);
        assert_equal(&source, &destination);
    }
}

/// rsync fails on what is beneath such a name, or follows the symlink.
fn a_directory_is_left_alone_with_all_that_is_in_it() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |root| {
            files(root, &["to file/a", "to file/sub/b", "to link/c", "to link/sub/d", "other/e"]);
        });
        for name in ["to file", "to link", "other"] {
            fs::remove_dir_all(destination.join(name)).unwrap();
        }
        file(destination.join("to file"), "in its place");
        fs::create_dir(home.path().join("elsewhere")).unwrap();
        symlink(home.path().join("elsewhere"), destination.join("to link")).unwrap();
        let before = snapshot(&destination);
        for options in [&["--ignore-existing", "--existing"][..], &["--existing", "--ignore-existing", "-n"]]
        {
            let ran = sync_with(engine, &[options, &["--json"]].concat(), &source, &destination).exits(0);
            let skipped = ran.json().iter().filter(|line| line["action"] == "skipped").count();
            assert_eq!((skipped, ran.err.as_str()), (10, ""), "{options:?}");
            let mut after = snapshot(&destination);
            after.insert(PathBuf::new(), before[Path::new("")].clone());
            assert_eq!(differences(&before, &after), [""; 0], "{options:?}");
        }
        sync_with(engine, &["--ignore-existing"], &source, &destination).exits(0);
        assert!(destination.join("to file").is_file() && destination.join("other/e").is_file());
        assert_eq!(fs::read_dir(home.path().join("elsewhere")).unwrap().count(), 0);
    }
}

/// A directory takes the place of a file, since the name exists; what is in it is new.
fn existing_makes_nothing_even_where_it_replaces() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |root| files(root, &["dir/file", "dir/sub/file"]));
        fs::remove_dir_all(destination.join("dir")).unwrap();
        file(destination.join("dir"), "in its place");
        // What is not made is not opened: its user could not.
        mode(source.join("dir/file"), 0o000);
        give_tree(home.path(), ALICE);
        for options in [&["--existing", "-n"][..], &["--existing"]] {
            let words = [&["sync", "--json", "--engine", engine], options].concat();
            let summary = as_alice(&words, &source, &destination).exits(0).summary();
            assert_eq!((&summary["updated"], &summary["created"]), (&1.into(), &0.into()), "{options:?}");
            assert_eq!((&summary["skipped"], &summary["failed"]), (&3.into(), &0.into()), "{options:?}");
        }
        assert_eq!(fs::read_dir(destination.join("dir")).unwrap().count(), 0);
        // DST itself is made, as rsync does; nothing in it is.
        let fresh = home.path().join("fresh");
        sync_with(engine, &["--existing"], &source, &fresh).exits(0);
        assert_eq!(fs::read_dir(&fresh).unwrap().count(), 0);
        let single = home.path().join("single");
        sync_with(engine, &["--existing"], &source.join("dir/sub/file"), &single).exits(0);
        assert!(!single.exists());
    }
}

fn a_window_does_not_spoil_the_times_of_what_is_new() {
    for &engine in ENGINES.iter() {
        for options in [&["--modify-window=2147483647"][..], &["--modify-window=2147483647", "--inplace"]] {
            let home = scratch();
            let (source, destination) = mirror(home.path(), |root| files(root, &["old", "dir/old", "size"]));
            files(&source, &["file", "dir/file", "new/file", "new/sub/file"]);
            file(source.join("size"), "of another size");
            symlink("target", source.join("link")).unwrap();
            node(source.join("fifo"), FileType::Fifo, (0, 0));
            modified(destination.join("old"), NOW + 9, 0);
            sync_with(engine, options, &source, &destination).exits(0);
            modified(source.join("old"), NOW + 9, 0);
            assert_equal(&source, &destination);
        }
    }
}

fn what_is_left_alone_is_in_the_manifest() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |root| {
            files(root, &["own", "gone", "linked", "to link", "sub/own"]);
            link(root.join("linked"), root.join("linked 2"));
        });
        for name in ["own", "sub/own", "linked 2"] {
            fs::remove_file(destination.join(name)).unwrap();
            file(destination.join(name), "contents of its own");
        }
        for name in ["gone", "to link"] {
            fs::remove_file(destination.join(name)).unwrap();
        }
        symlink("target", destination.join("to link")).unwrap();
        let manifest = home.path().join("sums");
        let options = ["--existing", "--ignore-existing", "--manifest", manifest.to_str().unwrap()];
        sync_with(engine, &options, &source, &destination).exits(0);
        let mut command = Command::new(program());
        command.args(["verify", "--strict"]).arg(&manifest).arg(&destination);
        let ran = run(command).exits(0);
        assert_eq!(ran.out.matches(": OK").count(), 4, "{ran:#?}");
    }
}

fn a_window_is_a_number_of_seconds() {
    let home = scratch();
    let (source, destination) = mirror(home.path(), |root| files(root, &["file"]));
    modified(destination.join("file"), NOW + 1, 0);
    let skips = |options: &[&str]| {
        let options = [options, &["-n", "--json"]].concat();
        sync_with("auto", &options, &source, &destination).exits(0).summary()["updated"] == 0
    };
    assert!(skips(&["--modify-window", "1"]) && skips(&["-@1"]) && skips(&["-@", "7"]));
    assert!(!skips(&["--modify-window", "-1"]) && !skips(&["-@-1"]) && !skips(&["--modify-window=-5"]));
    for bad in ["x", "1.5", "", "99999999999"] {
        let ran = sync_with("auto", &["--modify-window", bad], &source, &destination).exits(1);
        assert!(ran.err.contains("--modify-window"), "{ran:?}");
    }
}

/// They are read through the descriptors that the contents are compared through.
fn with_checksum_attributes_are_mended() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let names = ["both", "only here", "only there"];
        let (source, destination) = mirror(home.path(), |root| files(root, &names));
        for name in &names[..2] {
            xattr(source.join(name), "user.one", b"here");
        }
        xattr(destination.join("both"), "user.one", b"there");
        xattr(destination.join("only there"), "user.other", b"there");
        sync_with(engine, &["--checksum"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
    }
}

/// As rsync has it: a time within the window is neither reported nor set, one beyond it is both.
fn a_window_holds_for_directories() {
    for &engine in ENGINES.iter() {
        for (apart, told) in [(1, false), (2, false), (3, true)] {
            let home = scratch();
            let (source, destination) = (home.path().join("src"), home.path().join("dst"));
            file(source.join("d/file"), "x");
            for path in ["d/file", "d", ""] {
                modified(source.join(path), 1_000_000, 5);
            }
            sync_with(engine, &[], &source, &destination).exits(0);
            modified(destination.join("d"), 1_000_000 + apart, 7);
            let before = fs::metadata(destination.join("d")).unwrap();
            let mut command = Command::new("rsync");
            command.args(["-aHAXin", "--modify-window=2"]).arg(source.join("")).arg(destination.join(""));
            let rsync = run(command).exits(0).out;
            let ran = sync_with(engine, &["-i", "--modify-window=2"], &source, &destination).exits(0);
            let lines: Vec<&str> = ran.out.lines().filter(|line| line.starts_with('.')).collect();
            assert_eq!(lines, rsync.lines().collect::<Vec<_>>(), "{apart}: {ran:?}");
            assert_eq!(lines.is_empty(), !told);
            let after = fs::metadata(destination.join("d")).unwrap();
            assert_eq!(after.mtime(), if told { 1_000_000 } else { 1_000_000 + apart });
            if !told {
                assert_eq!((after.ctime(), after.ctime_nsec()), (before.ctime(), before.ctime_nsec()));
            }
        }
    }
}
