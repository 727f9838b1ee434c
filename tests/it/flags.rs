//! `--flags`: no copy on write, which btrfs gives to what is empty alone.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::IFlags;

use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, modified, noise};
use crate::support::{ENGINES, Ran, assert_equal, assert_no_litter, program, run, scratch, sync_with};

tests![
    files_and_directories_keep_no_copy_on_write: [Need::FileSystem("btrfs")],
    what_lacks_the_flag_is_made_anew_once: [Need::FileSystem("btrfs")],
    what_knows_no_flag_gets_the_files: [Need::FileSystem("btrfs"), Need::FileSystem("ext4")],
    what_is_rewritten_in_place_keeps_its_flag: [Need::FileSystem("btrfs")],
    an_earlier_tree_with_other_flags_is_not_linked_to: [Need::FileSystem("btrfs")],
];

fn is_nocow(path: impl AsRef<Path>) -> bool {
    rustix::fs::ioctl_getflags(File::open(path).unwrap()).unwrap().contains(IFlags::NOCOW)
}

/// chattr(1), +C or -C. A file must be empty.
fn set_nocow(path: impl AsRef<Path>, nocow: bool) {
    let file = File::open(path).unwrap();
    let mut flags = rustix::fs::ioctl_getflags(&file).unwrap();
    flags.set(IFlags::NOCOW, nocow);
    rustix::fs::ioctl_setflags(&file, flags).unwrap();
}

fn nocow_file(path: impl AsRef<Path>, nocow: bool, contents: &[u8]) {
    let mut file = File::create(&path).unwrap();
    set_nocow(&path, nocow);
    file.write_all(contents).unwrap();
    drop(file);
    modified(path, 1_000_000, 0);
}

const NAMES: [&str; 9] =
    ["", "c", "c/small", "c/large", "c/empty", "c/deep", "c/deep/plain", "plain", "plain/c"];

fn build(source: &Path) {
    fs::create_dir_all(source.join("c")).unwrap();
    set_nocow(source.join("c"), true);
    fs::create_dir_all(source.join("c/deep")).unwrap();
    set_nocow(source.join("c/deep"), false);
    fs::create_dir_all(source.join("plain")).unwrap();
    nocow_file(source.join("c/small"), true, &noise(1, 5000));
    nocow_file(source.join("c/large"), true, &noise(2, 5 << 20));
    nocow_file(source.join("c/empty"), true, b"");
    nocow_file(source.join("c/deep/plain"), false, &noise(3, 5000));
    nocow_file(source.join("c/of-no-use"), false, &noise(4, 5000));
    nocow_file(source.join("plain/c"), true, &noise(5, 5000));
    fs::hard_link(source.join("c/small"), source.join("plain/again")).unwrap();
}

#[track_caller]
fn assert_same_flags(source: &Path, destination: &Path) {
    for name in NAMES.into_iter().chain(["c/of-no-use", "plain/again"]) {
        assert_eq!(is_nocow(source.join(name)), is_nocow(destination.join(name)), "{name}");
    }
    assert_equal(source, destination);
    assert_no_litter(destination);
}

/// How many entries a run has made, replaced, linked and mended.
fn changed(ran: &Ran) -> u64 {
    let summary = ran.summary();
    let counts = ["created", "updated", "linked", "metadata"].iter();
    counts.map(|name| summary[name].as_u64().unwrap()).sum()
}

fn check(options: &[&str], source: &Path, destination: &Path) -> Ran {
    let mut command = std::process::Command::new(program());
    command.arg("check").args(options).arg(source).arg(destination);
    run(command)
}

fn files_and_directories_keep_no_copy_on_write() {
    let mount = Mount::new("btrfs", "400M");
    let source = mount.path().join("src");
    build(&source);
    for (&engine, reflink) in
        ENGINES.iter().flat_map(|engine| ["auto", "always", "never"].map(|how| (engine, how)))
    {
        let destination = mount.path().join(format!("dst-{engine}-{reflink}"));
        let options = ["--flags", "--json", "--reflink", reflink];
        sync_with(engine, &options, &source, &destination).exits(0);
        assert_same_flags(&source, &destination);
        let again = sync_with(engine, &options, &source, &destination).exits(0);
        assert_eq!((changed(&again), &again.summary()["bytes"]), (0, &0.into()), "{}", again.out);
        check(&["--flags"], &source, &destination).exits(0);
        // A new version of a file, and one in a directory that gives it what it is not to have.
        fs::remove_file(destination.join("c/deep/plain")).unwrap();
        set_nocow(destination.join("c/deep"), true);
        fs::write(destination.join("c/small"), "other contents").unwrap();
        sync_with(engine, &options, &source, &destination).exits(0);
        assert_same_flags(&source, &destination);
        fs::remove_dir_all(&destination).unwrap();
    }
}

fn what_lacks_the_flag_is_made_anew_once() {
    let mount = Mount::new("btrfs", "400M");
    let source = mount.path().join("src");
    build(&source);
    for &engine in ENGINES.iter() {
        let destination = mount.path().join(format!("dst-{engine}"));
        sync_with(engine, &[], &source, &destination).exits(0);
        assert!(
            !is_nocow(destination.join("c")) && !is_nocow(destination.join("c/small")),
            "nobody asked for it"
        );
        check(&[], &source, &destination).exits(0);
        let found = check(&["--flags", "--json"], &source, &destination).exits(23);
        // Two directories' worth: c, and four inodes of which one has two names.
        assert!(changed(&found) >= 5, "{}", found.out);
        let told = sync_with(engine, &["--flags", "-n", "--json"], &source, &destination).exits(0);
        assert!(!is_nocow(destination.join("c/small")));
        let ran = sync_with(engine, &["--flags", "--json"], &source, &destination).exits(0);
        assert_eq!(told.summary()["updated"], ran.summary()["updated"], "{}{}", told.out, ran.out);
        assert_same_flags(&source, &destination);
        let again = sync_with(engine, &["--flags", "--json"], &source, &destination).exits(0);
        assert_eq!((changed(&again), &again.summary()["bytes"]), (0, &0.into()), "{}", again.out);
        // And away again, where the source has lost it.
        fs::remove_file(source.join("plain/c")).unwrap();
        nocow_file(source.join("plain/c"), false, &noise(5, 5000));
        sync_with(engine, &["--flags"], &source, &destination).exits(0);
        assert_same_flags(&source, &destination);
        fs::remove_file(source.join("plain/c")).unwrap();
        nocow_file(source.join("plain/c"), true, &noise(5, 5000));
    }
}

fn what_knows_no_flag_gets_the_files() {
    let mount = Mount::new("btrfs", "400M");
    let source = mount.path().join("src");
    build(&source);
    for (&engine, kind) in ENGINES.iter().flat_map(|engine| ["tmpfs", "ext4"].map(|kind| (engine, kind))) {
        let disk = Mount::new(kind, "100M");
        let destination = disk.path().join("dst");
        let options = ["--flags", "--json"];
        let ran = sync_with(engine, &options, &source, &destination).exits(23);
        assert_equal(&source, &destination);
        assert!(ran.err.contains("ringsync: set flags of "), "{}", ran.err);
        assert!(
            ran.err.contains("C (no copy on write): ") && ran.err.contains("(--flags asks for it)"),
            "{}",
            ran.err
        );
        let again = sync_with(engine, &options, &source, &destination).exits(23);
        assert_eq!((changed(&again), &again.summary()["bytes"]), (0, &0.into()), "{kind}: {}", again.out);
        assert!(again.err.contains("ringsync: set flags of "), "{}", again.err);
        sync_with(engine, &["--json"], &source, &destination).exits(0);
        assert_no_litter(disk.path());
    }
}

fn what_is_rewritten_in_place_keeps_its_flag() {
    let mount = Mount::new("btrfs", "400M");
    let source = mount.path().join("src");
    build(&source);
    for &engine in ENGINES.iter() {
        let destination = mount.path().join(format!("dst-{engine}"));
        fs::create_dir_all(destination.join("c")).unwrap();
        file(destination.join("c/large"), "old");
        let inode = fs::metadata(destination.join("c/large")).unwrap().ino();
        for _ in 0..2 {
            let ran = sync_with(engine, &["--flags", "--inplace"], &source, &destination).exits(23);
            let line = "C (no copy on write) became no C (copy on write) (--flags asks for it)";
            assert!(ran.err.contains(line) && ran.err.lines().count() == 1, "{}", ran.err);
            assert_eq!(fs::metadata(destination.join("c/large")).unwrap().ino(), inode);
            assert_equal(&source, &destination);
        }
        assert!(is_nocow(destination.join("c/small")), "a new file has it");
    }
}

fn an_earlier_tree_with_other_flags_is_not_linked_to() {
    let mount = Mount::new("btrfs", "400M");
    let home = scratch();
    let source = mount.path().join("src");
    build(&source);
    for &engine in ENGINES.iter() {
        let tree = |name: &str| mount.path().join(format!("{name}-{engine}"));
        sync_with(engine, &[], &source, &tree("first")).exits(0);
        for (earlier, later) in [("first", "second"), ("second", "third")] {
            let earlier = tree(earlier);
            let options = ["--flags", "--link-dest", earlier.to_str().unwrap()];
            sync_with(engine, &options, &source, &tree(later)).exits(0);
            assert_same_flags(&source, &tree(later));
        }
        let inode = |tree_name: &str, name: &str| fs::metadata(tree(tree_name).join(name)).unwrap().ino();
        assert_ne!(inode("first", "c/large"), inode("second", "c/large"));
        assert_eq!(inode("second", "c/large"), inode("third", "c/large"));
        assert_eq!(inode("first", "c/of-no-use"), inode("third", "c/of-no-use"));
        let memory = |name: &str| home.path().join(format!("{name}-{engine}"));
        sync_with(engine, &["--flags"], &source, &memory("first")).exits(23);
        let earlier = memory("first");
        let options = ["--flags", "--link-dest", earlier.to_str().unwrap()];
        sync_with(engine, &options, &source, &memory("second")).exits(23);
        let inode = |name: &str| fs::metadata(memory(name).join("c/large")).unwrap().ino();
        assert_eq!(inode("first"), inode("second"), "a copy would lack the same");
    }
}
