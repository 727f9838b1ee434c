//! Names that the destination takes for one: the first has it, the others are errors, in this run and in each later one.
//! Names that it refuses: found out before anything large is written. And inode numbers that a union has made up.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::fuse::Fuse;
use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, modified, noise};
use crate::support::{ENGINES, Ran, assert_equal, assert_no_litter, program, run, scratch, sync_with};

tests![
    names_that_meet_are_errors_and_replace_nothing: [Need::Fuse],
    the_name_that_is_there_stays: [Need::Fuse],
    directories_that_meet_are_not_merged: [Need::Fuse],
    entries_of_all_types_meet: [Need::Fuse],
    two_sources_that_meet_are_told: [Need::Fuse],
    a_comparison_tells_of_names_that_meet: [Need::Fuse],
    names_that_meet_in_large_directories_meet_in_any_order: [Need::Fuse],
    names_apart_stay_apart_where_nothing_is_folded: [Need::Fuse],
    a_refused_name_is_found_out_before_its_file_is_written: [Need::Fuse],
    what_is_wrong_with_a_name_is_told: [Need::Fuse],
    a_disk_of_windows_has_the_first_of_two_and_refuses_names: [Need::Fuse, Need::Tool("lowntfs-3g")],
    a_name_that_is_too_long_is_told: [Need::Fuse],
    two_files_of_one_number_are_not_linked: [Need::Fuse],
    two_files_of_one_number_and_one_look_are_not_linked: [Need::Fuse],
    links_on_a_file_system_in_user_space_stay_links: [Need::Fuse],
    links_that_the_run_gives_to_its_own_source_stay_links,
];

/// Names that meet, with the way that they are told apart where they are.
const MEETING: [(&str, &str); 4] =
    [("Name", "name"), ("x", "x."), ("y", "y "), ("\u{e9}t\u{e9}", "e\u{301}te\u{301}")];

fn meeting_tree(source: &Path) {
    for (index, (one, other)) in MEETING.into_iter().enumerate() {
        for (number, name) in [one, other].into_iter().enumerate() {
            // All have one size and one time: nothing but contents tells them apart.
            file(source.join("d").join(name), noise((10 * index + number) as u64, 3000));
            modified(source.join("d").join(name), 1000, 0);
        }
    }
    file(source.join("d/other"), "other");
}

/// The contents of each of two names in the source, and whose of them the destination has.
fn winner<'a>(source: &Path, destination: &Path, (one, other): (&'a str, &'a str)) -> &'a str {
    let have = fs::read(destination.join(one)).unwrap();
    let holds = |name: &str| fs::read(source.join(name)).unwrap() == have;
    assert!(holds(one) != holds(other), "either's contents, whole");
    if holds(one) { one } else { other }
}

/// How many errors say that names meet.
fn meetings(ran: &Ran) -> usize {
    ran.err.matches("another name in SRC is the same name in DST: ").count()
}

fn names_that_meet_are_errors_and_replace_nothing() {
    for &engine in ENGINES.iter() {
        for options in
            [&[][..], &["--inplace"], &["--checksum"], &["--backup"], &["--delete"], &["--no-atomic"]]
        {
            let (home, fuse) = (scratch(), Fuse::new());
            fuse.take_names_for_one();
            let (source, destination) = (home.path().join("src"), fuse.path().join("dst"));
            meeting_tree(&source);
            let sync = || {
                sync_with(engine, &[&["--no-acls", "--no-xattrs"], options].concat(), &source, &destination)
            };
            let ran = sync().exits(23);
            assert_eq!(meetings(&ran), MEETING.len(), "{options:?}: {}", ran.err);
            let winners = || MEETING.map(|two| winner(&source.join("d"), &destination.join("d"), two));
            let (first, listed) = (winners(), names_in(&destination.join("d")));
            assert_eq!(listed.len(), MEETING.len() + 1, "{listed:?}");
            for _ in 0..2 {
                let ran = sync().exits(23);
                assert_eq!(meetings(&ran), MEETING.len(), "{options:?}: {}", ran.err);
                assert_eq!(
                    (winners(), names_in(&destination.join("d"))),
                    (first, listed.clone()),
                    "{options:?}"
                );
            }
            assert_no_litter(&destination);
        }
    }
}

fn names_in(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// What the destination has under its own name goes on being that name's, whichever comes first by then.
fn the_name_that_is_there_stays() {
    for &engine in ENGINES.iter() {
        for (there, comes) in [("a", "A"), ("A", "a")] {
            let (home, fuse) = (scratch(), Fuse::new());
            fuse.take_names_for_one();
            let (source, destination) = (home.path().join("src"), fuse.path().join("dst"));
            file(source.join(there), "was there");
            sync_with(engine, &["--no-acls", "--no-xattrs"], &source, &destination).exits(0);
            file(source.join(comes), "comes");
            for options in
                [&["--no-acls", "--no-xattrs", "--delete"][..], &["--no-acls", "--no-xattrs", "--existing"]]
            {
                let ran = sync_with(engine, options, &source, &destination).exits(23);
                let line = format!("create {}: another", destination.join(comes).display());
                assert!(ran.err.contains(&line), "{}", ran.err);
                let of = format!("same name in DST: {}\n", source.join(there).display());
                assert!(ran.err.contains(&of), "{}", ran.err);
                assert_eq!(fs::read(destination.join(there)).unwrap(), b"was there");
                assert_eq!(names_in(&destination), BTreeSet::from([there.to_owned()]));
            }
            // Once the source has it no more, its place is free.
            fs::remove_file(source.join(there)).unwrap();
            sync_with(engine, &["--no-acls", "--no-xattrs"], &source, &destination).exits(0);
            assert_eq!(fs::read(destination.join(comes)).unwrap(), b"comes");
        }
    }
}

fn directories_that_meet_are_not_merged() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        fuse.take_names_for_one();
        let (source, destination) = (home.path().join("src"), fuse.path().join("dst"));
        for name in ["D/one", "D/sub/x", "d/two", "d/sub/y", "mixed/file", "Mixed"] {
            file(source.join(name), name);
        }
        for run in 0..3 {
            let ran =
                sync_with(engine, &["--no-acls", "--no-xattrs", "--delete"], &source, &destination).exits(23);
            assert_eq!(meetings(&ran), 2, "run {run}: {}", ran.err);
            let (one, other) = (destination.join("D/one"), destination.join("D/two"));
            assert!(one.exists() != other.exists(), "run {run}: {}", ran.err);
            assert!(destination.join("D/sub/x").exists() == one.exists());
            assert!(destination.join("D/sub/y").exists() == other.exists());
            assert_eq!(names_in(&destination).len(), 2);
        }
    }
}

fn entries_of_all_types_meet() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        fuse.take_names_for_one();
        let (source, destination) = (home.path().join("src"), fuse.path().join("dst"));
        fs::create_dir_all(&source).unwrap();
        symlink("one", source.join("link")).unwrap();
        symlink("other", source.join("LINK")).unwrap();
        file(source.join("hard"), "hard");
        fs::hard_link(source.join("hard"), source.join("HARD")).unwrap();
        file(source.join("file"), "file");
        symlink("file", source.join("FILE")).unwrap();
        let state = || {
            let is_link = fs::symlink_metadata(destination.join("file")).unwrap().is_symlink();
            (fs::read_link(destination.join("link")).unwrap(), is_link, names_in(&destination))
        };
        let ran = sync_with(engine, &["--no-acls", "--no-xattrs"], &source, &destination).exits(23);
        assert_eq!(meetings(&ran), 3, "{}", ran.err);
        let first = state();
        assert_eq!(first.2.len(), 3);
        let ran = sync_with(engine, &["--no-acls", "--no-xattrs"], &source, &destination).exits(23);
        assert_eq!((meetings(&ran), state()), (3, first), "{}", ran.err);
    }
}

fn two_sources_that_meet_are_told() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        fuse.take_names_for_one();
        let destination = fuse.path().join("dst");
        fs::create_dir(&destination).unwrap();
        let (one, other) = (home.path().join("one/Same"), home.path().join("other/same"));
        file(&one, "one");
        file(&other, "other");
        let copy = || {
            let mut command = Command::new(program());
            command
                .args(["copy", "--no-acls", "--no-xattrs", "--engine", engine])
                .args([&one, &other])
                .arg(&destination);
            run(command)
        };
        let ran = copy().exits(23);
        assert_eq!(meetings(&ran), 1, "{}", ran.err);
        let first = fs::read(destination.join("same")).unwrap();
        let ran = copy().exits(23);
        assert_eq!((meetings(&ran), fs::read(destination.join("same")).unwrap()), (1, first), "{}", ran.err);
    }
}

fn a_comparison_tells_of_names_that_meet() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        fuse.take_names_for_one();
        let (source, destination) = (home.path().join("src"), fuse.path().join("dst"));
        meeting_tree(&source);
        for name in ["E/x", "e/x"] {
            file(source.join(name), name);
        }
        sync_with(engine, &["--no-acls", "--no-xattrs"], &source, &destination).exits(23);
        for options in [&["--no-acls", "--no-xattrs"][..], &["--no-acls", "--no-xattrs", "--checksum"]] {
            let mut command = Command::new(program());
            command.args(["check", "--engine", engine]).args(options).args([&source, &destination]);
            let ran = run(command).exits(23);
            assert_eq!(meetings(&ran), MEETING.len() + 1, "{}", ran.err);
        }
    }
}

/// More names than a batch has: those that meet come to several tasks at once.
fn names_that_meet_in_large_directories_meet_in_any_order() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        fuse.take_names_for_one();
        let (source, destination) = (home.path().join("src"), fuse.path().join("dst"));
        for index in 0..700 {
            for name in [format!("n{index}"), format!("N{index}")] {
                file(source.join(&name), &name);
                modified(source.join(&name), 1000, 0);
            }
        }
        let contents = || -> Vec<String> {
            let read = |index| fs::read_to_string(destination.join(format!("n{index}"))).unwrap();
            (0..700).map(read).collect()
        };
        let ran = sync_with(engine, &["--no-acls", "--no-xattrs", "--json"], &source, &destination).exits(23);
        assert_eq!(ran.summary()["failed"].as_u64(), Some(700), "{}", ran.summary());
        let first = contents();
        let ran = sync_with(engine, &["--no-acls", "--no-xattrs", "--json"], &source, &destination).exits(23);
        let summary = ran.summary();
        assert_eq!(
            (summary["failed"].as_u64(), summary["updated"].as_u64()),
            (Some(700), Some(0)),
            "{summary}"
        );
        assert!(contents() == first);
    }
}

fn names_apart_stay_apart_where_nothing_is_folded() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        let (source, destination) = (home.path().join("src"), fuse.path().join("dst"));
        meeting_tree(&source);
        file(source.join("D/file"), "file");
        fs::hard_link(source.join("d/other"), source.join("d/OTHER")).unwrap();
        for _ in 0..2 {
            sync_with(engine, &["--no-acls", "--no-xattrs"], &source, &destination).exits(0);
            assert_equal(&source, &destination);
        }
    }
}

fn a_refused_name_is_found_out_before_its_file_is_written() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        fuse.refuse_names();
        let (source, destination) = (home.path().join("src"), fuse.path().join("dst"));
        file(source.join("fine"), noise(1, 6 << 20));
        sync_with(engine, &["--no-acls", "--no-xattrs"], &source, &destination).exits(0);
        let before = fuse.written();
        assert!(before >= 6 << 20);
        file(source.join("a:b"), noise(2, 6 << 20));
        let ran = sync_with(engine, &["--no-acls", "--no-xattrs"], &source, &destination).exits(23);
        let line = format!(
            "create {}: the destination's file system does not take this name: it has the character : (Invalid",
            destination.join("a:b").display()
        );
        assert!(ran.err.contains(&line), "{}", ran.err);
        assert_eq!(fuse.written(), before, "nothing was written for it");
        assert_no_litter(&destination);
        assert_eq!(names_in(&destination), BTreeSet::from(["fine".to_owned()]));
    }
}

fn what_is_wrong_with_a_name_is_told() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        fuse.refuse_names();
        let (source, destination) = (home.path().join("src"), fuse.path().join("dst"));
        for name in ["small?", "dir*/file", "dot.", "blank ", "fine"] {
            file(source.join(name), name);
        }
        symlink("fine", source.join("link|")).unwrap();
        for _ in 0..2 {
            let ran = sync_with(engine, &["--no-acls", "--no-xattrs"], &source, &destination).exits(23);
            for (name, why) in [
                ("small?", "it has the character ?"),
                ("dir*", "it has the character *"),
                ("dot.", "it ends in a dot"),
                ("blank ", "it ends in a blank"),
                ("link|", "it has the character |"),
            ] {
                let line = format!(
                    "{}: the destination's file system does not take this name: {why}",
                    destination.join(name).display()
                );
                assert!(ran.err.contains(&line), "{line}: {}", ran.err);
            }
            assert!(destination.join("fine").exists());
        }
        assert_no_litter(&destination);
    }
}

fn a_name_that_is_too_long_is_told() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        let (source, destination) = (fuse.path().join("src"), home.path().join("dst"));
        let long = "n".repeat(300);
        file(source.join(&long), noise(1, 6 << 20));
        file(source.join("fine"), "fine");
        fs::create_dir(source.join(format!("{long}d"))).unwrap();
        let ran = sync_with(engine, &["--no-acls", "--no-xattrs"], &source, &destination).exits(23);
        for why in ["it has 300 bytes, 45 more than there may be", "it has 301 bytes, 46 more"] {
            assert!(ran.err.contains(why), "{why}: {}", ran.err);
        }
        assert_eq!(names_in(&destination), BTreeSet::from(["fine".to_owned()]));
        assert_no_litter(&destination);
    }
}

fn links(path: impl AsRef<Path>) -> u64 {
    fs::metadata(path).unwrap().nlink()
}

fn check(engine: &str, source: &Path, destination: &Path) -> Ran {
    let mut command = Command::new(program());
    command.args(["check", "--no-acls", "--no-xattrs", "--engine", engine]).args([source, destination]);
    run(command)
}

fn two_files_of_one_number_are_not_linked() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        let (source, destination) = (fuse.path().join("src"), home.path().join("dst"));
        file(source.join("first"), "a first file");
        file(source.join("second"), "a second one, longer");
        fuse.give_one_number("first", "second", false);
        let inode = |name| fs::metadata(source.join(name)).unwrap().ino();
        assert_eq!(inode("first"), inode("second"), "else this tests nothing");
        for _ in 0..2 {
            sync_with(engine, &["--no-acls", "--no-xattrs"], &source, &destination).exits(0);
            assert_eq!(fs::read(destination.join("first")).unwrap(), b"a first file");
            assert_eq!(fs::read(destination.join("second")).unwrap(), b"a second one, longer");
            assert_eq!((links(destination.join("first")), links(destination.join("second"))), (1, 1));
        }
        check(engine, &source, &destination).exits(0);
        // What an earlier version has linked is taken apart.
        fs::remove_file(destination.join("second")).unwrap();
        fs::hard_link(destination.join("first"), destination.join("second")).unwrap();
        check(engine, &source, &destination).exits(23);
        sync_with(engine, &["--no-acls", "--no-xattrs"], &source, &destination).exits(0);
        assert_eq!((links(destination.join("first")), links(destination.join("second"))), (1, 1));
    }
}

/// Size, time, mode, owner and number are those of one file: only what is in them tells.
fn two_files_of_one_number_and_one_look_are_not_linked() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        let (source, destination) = (fuse.path().join("src"), home.path().join("dst"));
        file(source.join("first"), noise(1, 300_000));
        file(source.join("second"), noise(2, 300_000));
        fuse.give_one_number("first", "second", true);
        let right = |sync: Ran| {
            sync.exits(0);
            assert!(fs::read(destination.join("first")).unwrap() == noise(1, 300_000));
            assert!(fs::read(destination.join("second")).unwrap() == noise(2, 300_000));
            assert_eq!((links(destination.join("first")), links(destination.join("second"))), (1, 1));
        };
        right(sync_with(engine, &["--no-acls", "--no-xattrs"], &source, &destination));
        right(sync_with(engine, &["--no-acls", "--no-xattrs"], &source, &destination));
        check(engine, &source, &destination).exits(0);
        fs::remove_file(destination.join("second")).unwrap();
        fs::hard_link(destination.join("first"), destination.join("second")).unwrap();
        right(sync_with(engine, &["--no-acls", "--no-xattrs", "--checksum"], &source, &destination));
    }
}

fn links_on_a_file_system_in_user_space_stay_links() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        let (source, destination) = (fuse.path().join("src"), home.path().join("dst"));
        file(source.join("a/one"), noise(1, 300_000));
        fs::create_dir(source.join("b")).unwrap();
        fs::hard_link(source.join("a/one"), source.join("b/other")).unwrap();
        fs::hard_link(source.join("a/one"), source.join("b/third")).unwrap();
        file(source.join("a/empty"), "");
        fs::hard_link(source.join("a/empty"), source.join("b/empty")).unwrap();
        for options in [&["--no-acls", "--no-xattrs"][..], &["--no-acls", "--no-xattrs", "--checksum"]] {
            sync_with(engine, options, &source, &destination).exits(0);
            assert_equal(&source, &destination);
            assert_eq!((links(destination.join("a/one")), links(destination.join("b/empty"))), (3, 2));
        }
        check(engine, &source, &destination).exits(0);
    }
}

/// A file system that is in use, and not this test's own.
fn a_disk_of_windows_has_the_first_of_two_and_refuses_names() {
    for &engine in ENGINES.iter() {
        let (home, disk) = (scratch(), Mount::ntfs("64M"));
        let (source, destination) = (home.path().join("src"), disk.path().join("dst"));
        for name in ["d/Name", "d/name", "D2/x", "d2/y", "fine"] {
            file(source.join(name), name);
        }
        file(source.join("a:b"), noise(1, 6 << 20));
        file(source.join("dot."), "dot");
        let options = ["--no-acls", "--no-xattrs", "--no-perms", "--no-owner", "--no-group", "--delete"];
        let state = || fs::read(destination.join("d/name")).unwrap();
        let mut first = None;
        for _ in 0..3 {
            let ran = sync_with(engine, &options, &source, &destination).exits(23);
            assert_eq!(meetings(&ran), 2, "{}", ran.err);
            assert!(ran.err.contains("it has the character :"), "{}", ran.err);
            assert!(ran.err.contains("it ends in a dot"), "{}", ran.err);
            assert_eq!(names_in(&destination).len(), 3);
            assert_eq!(*first.get_or_insert_with(state), state());
        }
        assert_no_litter(&destination);
    }
}

/// With an earlier tree whose files are the source's own, each new name moves the source's change time and count of links.
fn links_that_the_run_gives_to_its_own_source_stay_links() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let [source, earlier, destination] = ["src", "earlier", "dst"].map(|name| home.path().join(name));
        file(source.join("a"), noise(1, 5000));
        fs::create_dir(&earlier).unwrap();
        fs::hard_link(source.join("a"), earlier.join("a")).unwrap();
        for name in ["b", "c", "d"] {
            fs::hard_link(source.join("a"), source.join(name)).unwrap();
            fs::hard_link(source.join("a"), earlier.join(name)).unwrap();
        }
        let before = links(source.join("a"));
        let option = format!("--link-dest={}", earlier.display());
        sync_with(engine, &[&option], &source, &destination).exits(0);
        assert_eq!(links(destination.join("d")), before + 4);
        assert_equal(&source, &destination);
    }
}
