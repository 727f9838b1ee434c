//! Names of SRC that change nothing but their case, or another property that DST does not see: DST goes on listing the old
//! ones, and `--delete` takes none of them for extra.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::fuse::Fuse;
use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::file;
use crate::support::{ENGINES, Ran, assert_no_litter, scratch, sync_with};

tests![
    what_was_just_mirrored_stays: [Need::Fuse],
    what_was_just_mirrored_stays_on_exfat:
        [Need::Fuse, Need::Tool("mount.exfat-fuse"), Need::Tool("mkfs.exfat"), Need::Tool("losetup")],
    names_of_other_rules_than_ours_stay: [Need::Fuse],
    what_is_hidden_and_named_in_another_case_goes: [Need::Fuse],
    names_that_are_apart_are_deleted: [Need::Fuse],
    a_top_with_one_name_in_another_case_has_it_in_common: [Need::Fuse],
    a_top_with_names_of_its_own_has_nothing_in_common: [Need::Fuse],
];

fn sync(engine: &str, options: &[&str], source: &Path, destination: &Path) -> Ran {
    let all = [&["--no-acls", "--no-xattrs", "--no-owner", "--no-group", "--no-perms"], options].concat();
    sync_with(engine, &all, source, destination)
}

fn names_in(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Names that are listed and neither compared nor extra make no room for a wrong deletion.
fn mirror_names_in_another_case(engine: &str, place: &Path) {
    for (index, (options, stays)) in [
        (&["--delete", "--exclude=stays"][..], "stays"),
        (&["--delete", "--no-links"], "stays"),
        (&["--delete", "--backup"], "stays~"),
        (&["--delete", "--filter=P stays"], "stays"),
        (&["--delete", "--delete-excluded", "--exclude=other", "--filter=P stays"], "stays"),
    ]
    .into_iter()
    .enumerate()
    {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), place.join(format!("{engine}{index}")));
        for name in ["same", "d/README.TXT", "d/Photos/1.jpg", "d/Photos/2.jpg"] {
            file(source.join(name), name);
        }
        sync(engine, &[], &source, &destination).exits(0);
        if options.contains(&"--no-links") {
            symlink("nowhere", source.join("d").join(stays)).unwrap();
        }
        for name in [stays, "extra1", "extra2"] {
            file(destination.join("d").join(name), name);
        }
        fs::rename(source.join("d/README.TXT"), source.join("d/readme.txt")).unwrap();
        fs::rename(source.join("d/Photos"), source.join("d/photos")).unwrap();
        for _ in 0..2 {
            let ran = sync(engine, options, &source, &destination).exits(0);
            let mut listed = names_in(&destination.join("d"));
            listed.retain(|name| !name.starts_with("extra") || !options.contains(&"--backup"));
            assert_eq!(listed, set(&["README.TXT", "Photos", stays]), "{options:?}: {ran:?}");
            assert_eq!(fs::read_to_string(destination.join("d/readme.txt")).unwrap(), "d/README.TXT");
            assert_eq!(names_in(&destination.join("d/photos")), set(&["1.jpg", "2.jpg"]), "{options:?}");
        }
        assert_no_litter(&destination);
    }
}

fn what_was_just_mirrored_stays() {
    for &engine in ENGINES.iter() {
        let fuse = Fuse::new();
        fuse.take_names_for_one();
        mirror_names_in_another_case(engine, fuse.path());
    }
}

/// Each name that is looked up has an inode number of its own there.
fn what_was_just_mirrored_stays_on_exfat() {
    for &engine in ENGINES.iter() {
        mirror_names_in_another_case(engine, Mount::exfat().path());
    }
}

/// What the destination makes one is known by its inode, whatever the rule.
fn names_of_other_rules_than_ours_stay() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        fuse.take_names_without_underscores_for_one();
        let (source, destination) = (home.path().join("src"), fuse.path().join("dst"));
        file(source.join("same"), "same");
        file(source.join("d/one_two"), "1");
        sync(engine, &[], &source, &destination).exits(0);
        for name in ["stays", "extra"] {
            file(destination.join("d").join(name), name);
        }
        fs::rename(source.join("d/one_two"), source.join("d/onetwo")).unwrap();
        sync(engine, &["--delete", "--exclude=stays"], &source, &destination).exits(0);
        assert_eq!(names_in(&destination.join("d")), set(&["one_two", "stays"]));
    }
}

fn what_is_hidden_and_named_in_another_case_goes() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        fuse.take_names_for_one();
        let (source, destination) = (home.path().join("src"), fuse.path().join("dst"));
        for name in ["d/Hidden", "d/seen"] {
            file(source.join(name), name);
        }
        sync(engine, &[], &source, &destination).exits(0);
        fs::rename(source.join("d/Hidden"), source.join("d/hidden")).unwrap();
        // An exclusion protects what the destination has of the name, which is one to it in either case.
        sync(engine, &["--delete", "--exclude=hidden"], &source, &destination).exits(0);
        assert_eq!(names_in(&destination.join("d")), set(&["Hidden", "seen"]));
        let options = ["--delete", "--delete-excluded", "--exclude=hidden"];
        sync(engine, &options, &source, &destination).exits(0);
        assert_eq!(names_in(&destination.join("d")), set(&["seen"]));
    }
}

/// On a file system that is not known to tell names apart, and does.
fn names_that_are_apart_are_deleted() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        let (source, destination) = (home.path().join("src"), fuse.path().join("dst"));
        for name in ["d/README", "d/one", "d/stays"] {
            file(source.join(name), name);
        }
        fs::hard_link(source.join("d/one"), source.join("d/ONE")).unwrap();
        sync(engine, &[], &source, &destination).exits(0);
        fs::rename(source.join("d/README"), source.join("d/readme")).unwrap();
        fs::remove_file(source.join("d/ONE")).unwrap();
        sync(engine, &["--delete", "--exclude=stays"], &source, &destination).exits(0);
        assert_eq!(names_in(&destination.join("d")), set(&["readme", "one", "stays"]));
    }
}

fn a_top_with_one_name_in_another_case_has_it_in_common() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        fuse.take_names_for_one();
        let (source, destination) = (home.path().join("src"), fuse.path().join("dst"));
        file(source.join("Readme"), "old");
        sync(engine, &["--delete"], &source, &destination).exits(0);
        fs::remove_file(source.join("Readme")).unwrap();
        file(source.join("README"), "a new text");
        file(destination.join("extra"), "extra");
        for _ in 0..2 {
            sync(engine, &["--delete"], &source, &destination).exits(0);
            assert_eq!(names_in(&destination), set(&["README"]));
            assert_eq!(fs::read_to_string(destination.join("Readme")).unwrap(), "a new text");
        }
    }
}

fn a_top_with_names_of_its_own_has_nothing_in_common() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        fuse.take_names_for_one();
        let (source, destination) = (home.path().join("src"), fuse.path().join("dst"));
        for name in ["new", "lost+found/x"] {
            file(source.join(name), name);
        }
        for name in ["Old", "lost+found/x"] {
            file(destination.join(name), name);
        }
        let ran = sync(engine, &["--delete"], &source, &destination).exits(25);
        assert!(ran.err.contains("could be deleted is not in SRC (Old)"), "{}", ran.err);
        assert_eq!(names_in(&destination), set(&["Old", "lost+found"]));
    }
}
