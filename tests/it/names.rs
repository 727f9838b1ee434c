//! Inode numbers that a union file system has made up.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::support::fuse::Fuse;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, noise};
use crate::support::{ENGINES, Ran, assert_equal, program, run, scratch, sync_with};

tests![
    two_files_of_one_number_are_not_linked: [Need::Fuse],
    two_files_of_one_number_and_one_look_are_not_linked: [Need::Fuse],
    links_on_a_file_system_in_user_space_stay_links: [Need::Fuse],
    links_that_the_run_gives_to_its_own_source_stay_links,
];

fn links(path: impl AsRef<Path>) -> u64 {
    fs::metadata(path).unwrap().nlink()
}

fn check(engine: &str, source: &Path, destination: &Path) -> Ran {
    let mut command = Command::new(program());
    command.args(["check", "--no-xattrs", "--engine", engine]).args([source, destination]);
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
            sync_with(engine, &["--no-xattrs"], &source, &destination).exits(0);
            assert_eq!(fs::read(destination.join("first")).unwrap(), b"a first file");
            assert_eq!(fs::read(destination.join("second")).unwrap(), b"a second one, longer");
            assert_eq!((links(destination.join("first")), links(destination.join("second"))), (1, 1));
        }
        check(engine, &source, &destination).exits(0);
        // What an earlier version has linked is taken apart.
        fs::remove_file(destination.join("second")).unwrap();
        fs::hard_link(destination.join("first"), destination.join("second")).unwrap();
        check(engine, &source, &destination).exits(23);
        sync_with(engine, &["--no-xattrs"], &source, &destination).exits(0);
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
        right(sync_with(engine, &["--no-xattrs"], &source, &destination));
        right(sync_with(engine, &["--no-xattrs"], &source, &destination));
        check(engine, &source, &destination).exits(0);
        fs::remove_file(destination.join("second")).unwrap();
        fs::hard_link(destination.join("first"), destination.join("second")).unwrap();
        right(sync_with(engine, &["--no-xattrs", "--checksum"], &source, &destination));
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
        for options in [&["--no-xattrs"][..], &["--no-xattrs", "--checksum"]] {
            sync_with(engine, options, &source, &destination).exits(0);
            assert_equal(&source, &destination);
            assert_eq!((links(destination.join("a/one")), links(destination.join("b/empty"))), (3, 2));
        }
        check(engine, &source, &destination).exits(0);
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
