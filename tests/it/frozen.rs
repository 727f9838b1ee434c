//! What chattr(1) has closed to changes in DST: the kernel says EPERM, as of a right that is missing, and the message says
//! how it is closed and what ends that. And attributes that can't be listed there.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::lacks::{bits, made};
use crate::support::fuse::{Call, Effect, Fuse};
use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{self, file, mode, modified, noise, xattr};
use crate::support::{ENGINES, assert_equal, assert_no_litter, scratch, sync_with, tool};

tests![
    what_is_closed_to_changes_is_called_so: [Need::Root, Need::FileSystem("ext4"), Need::Tool("chattr")],
    directories_that_are_closed_to_changes_are_called_so: [
        Need::Root, Need::FileSystem("ext4"), Need::Tool("chattr")
    ],
    an_append_only_directory_takes_what_is_new: [
        Need::Root, Need::FileSystem("ext4"), Need::Tool("chattr")
    ],
    what_is_closed_to_changes_is_a_handful_of_lines: [
        Need::Root, Need::FileSystem("ext4"), Need::Tool("chattr")
    ],
    what_a_run_needs_besides_is_called_so: [Need::Root, Need::FileSystem("ext4"), Need::Tool("chattr")],
    a_large_file_that_can_not_be_replaced_is_not_written: [
        Need::Root, Need::FileSystem("ext4"), Need::Tool("chattr")
    ],
    attributes_of_the_destination_that_can_not_be_listed_are_told: [Need::Root, Need::Fuse],
    several_names_and_capabilities_whose_attributes_can_not_be_listed_are_told: [Need::Root, Need::Fuse],
];

/// Closes these of `destination` to changes for as long as `work` takes.
fn frozen<R>(destination: &Path, names: &[(&str, char)], work: impl FnOnce() -> R) -> R {
    let set = |sign: char| {
        for (name, flag) in names {
            tool("chattr", &[Path::new(&format!("{sign}{flag}")), &destination.join(name)]);
        }
    };
    set('+');
    let done = work();
    set('-');
    done
}

fn what_is_closed_to_changes_is_called_so() {
    let mount = Mount::new("ext4", "64M");
    for &engine in ENGINES.iter() {
        let (source, destination) = (mount.path().join("src"), mount.path().join(engine));
        for name in ["new", "log", "mode"] {
            file(source.join(name), "contents");
            file(destination.join(name), "old");
        }
        mode(source.join("mode"), 0o644);
        sync_with(engine, &[], &source, &destination).exits(0);
        for name in ["new", "log"] {
            file(source.join(name), "new contents");
        }
        mode(source.join("mode"), 0o600);
        let names = [("new", 'i'), ("log", 'a'), ("mode", 'i')];
        let ran = frozen(&destination, &names, || sync_with(engine, &[], &source, &destination)).exits(23);
        for told in [
            "/new: Operation not permitted (os error 1): in DST it is immutable (chattr -i ends that)",
            "/log: Operation not permitted (os error 1): in DST it is append-only (chattr -a ends that)",
            "/mode: 0600: Operation not permitted (os error 1): it is immutable (chattr -i ends that)",
        ] {
            assert!(ran.err.contains(told), "{told}: {}", ran.err);
        }
        assert_eq!(fs::read(destination.join("new")).unwrap(), b"contents");
        assert_no_litter(&destination);
        sync_with(engine, &[], &source, &destination).exits(0);
    }
}

fn directories_that_are_closed_to_changes_are_called_so() {
    let mount = Mount::new("ext4", "64M");
    for &engine in ENGINES.iter() {
        let (source, destination) = (mount.path().join("src"), mount.path().join(engine));
        for name in ["closed", "grows", "emptied"] {
            file(source.join(name).join("f"), "contents");
            file(source.join(name).join("gone"), "contents");
        }
        sync_with(engine, &[], &source, &destination).exits(0);
        for name in ["closed", "grows"] {
            file(source.join(name).join("f"), "new contents");
        }
        file(source.join("closed/more"), "more");
        fs::remove_file(source.join("emptied/gone")).unwrap();
        let names = [("closed", 'i'), ("grows", 'a'), ("emptied", 'i')];
        let sync = || sync_with(engine, &["--delete"], &source, &destination);
        let ran = frozen(&destination, &names, sync).exits(23);
        let why = "Operation not permitted (os error 1): the directory that it is in is";
        for told in [
            format!("closed/more: {why} immutable (chattr -i ends that)"),
            format!("grows/f: {why} append-only (chattr -a ends that)"),
            format!("emptied/gone: {why} immutable (chattr -i ends that)"),
        ] {
            assert!(ran.err.contains(&told), "{told}: {}", ran.err);
        }
        assert_no_litter(&destination);
        sync_with(engine, &["--delete"], &source, &destination).exits(0);
    }
}

/// Where nothing can be renamed or removed, new names can be given all the same.
fn an_append_only_directory_takes_what_is_new() {
    let mount = Mount::new("ext4", "128M");
    for (&engine, options) in ENGINES
        .iter()
        .flat_map(|engine| [&[][..], &["--partial", "--fsync"]].map(|options| (engine, options)))
    {
        let (source, destination) = (mount.path().join("src"), mount.path().join("dst"));
        for name in ["a", "link", "fifo", "dir", "large"] {
            file(destination.join(name), "old");
        }
        for name in ["a", "below/f", "dir/f", "first", "z"] {
            file(source.join(name), "contents");
        }
        for name in ["large", "new-large"] {
            file(source.join(name), noise(1, 9 << 20));
        }
        fs::hard_link(source.join("first"), source.join("second")).unwrap();
        for name in ["link", "new-link"] {
            symlink("nowhere", source.join(name)).unwrap();
        }
        for name in ["fifo", "new-fifo"] {
            let bits = Mode::RUSR | Mode::WUSR;
            mknodat(CWD, source.join(name), FileType::Fifo, bits, 0).unwrap();
        }
        let options = [&["--jobs=1", "--depth=1"], options].concat();
        let sync = || sync_with(engine, &options, &source, &destination);
        let ran = frozen(&destination, &[("", 'a')], sync).exits(23);
        let old = tree::snapshot(&destination);
        for name in ["below/f", "first", "second", "z", "new-large", "new-link", "new-fifo"] {
            assert_eq!(old.get(Path::new(name)), tree::snapshot(&source).get(Path::new(name)), "{name}");
        }
        assert_no_litter(&destination);
        for name in ["a", "link", "fifo", "dir", "large"] {
            assert_eq!(fs::read(destination.join(name)).unwrap(), b"old");
        }
        assert_eq!(ran.out.matches("5 failed").count(), 1, "{}", ran.out);
        sync().exits(0);
        assert_equal(&source, &destination);
        for tree in [source, destination] {
            fs::remove_dir_all(tree).unwrap();
        }
    }
}

fn what_is_closed_to_changes_is_a_handful_of_lines() {
    let mount = Mount::new("ext4", "64M");
    for &engine in ENGINES.iter() {
        let (source, destination) = (mount.path().join("src"), mount.path().join(engine));
        for index in 0..20 {
            file(source.join(format!("f{index}")), "new contents");
            file(destination.join(format!("f{index}")), "old");
        }
        let sync = || sync_with(engine, &["--omit-dir-times"], &source, &destination);
        let ran = frozen(&destination, &[("", 'a')], sync).exits(23);
        let lines: Vec<&str> = ran.err.lines().collect();
        let last = "ringsync: change what is in a directory that is append-only (chattr -a ends that): the same for 17 \
                    more entries";
        assert_eq!((lines.len(), lines.last()), (4, Some(&last)), "{}", ran.err);
        assert!(ran.out.contains("; 20 errors"), "{}", ran.out);
    }
}

/// A directory that is to give way, and the one that backups go to.
fn what_a_run_needs_besides_is_called_so() {
    let mount = Mount::new("ext4", "64M");
    for &engine in ENGINES.iter() {
        let [source, destination, backups] = ["src", engine, "backups"].map(|name| mount.path().join(name));
        file(source.join("gives"), "contents");
        file(source.join("f"), "new contents");
        file(destination.join("gives/way"), "old");
        file(destination.join("f"), "old");
        file(backups.join("f"), "older");
        let sync = |options: &[&str]| sync_with(engine, options, &source, &destination);
        for (names, how) in
            [([("gives", 'a')], "in DST it is append-only"), ([("", 'a')], "in is append-only")]
        {
            let ran = frozen(&destination, &names, || sync(&["--delete", "--max-delete=100%"])).exits(23);
            let line = ran.err.lines().find(|line| line.contains("/gives: ")).unwrap_or_default();
            assert!(line.contains(how), "{how}: {}", ran.err);
            assert_no_litter(&destination);
        }
        fs::write(destination.join("f"), "old").unwrap();
        let option = format!("--backup-dir={}", backups.display());
        let ran = frozen(&backups, &[("", 'a')], || sync(&[&option])).exits(23);
        let told = "/f: Operation not permitted (os error 1): the directory of its backup is append-only (chattr -a ends that)";
        assert!(ran.err.contains(told), "{}", ran.err);
        assert_eq!(fs::read(destination.join("f")).unwrap(), b"old");
        assert_no_litter(&backups);
        fs::remove_dir_all(backups).unwrap();
    }
}

/// There is no room for both, which nobody gets to hear.
fn a_large_file_that_can_not_be_replaced_is_not_written() {
    let (home, mount) = (scratch(), Mount::new("ext4", "64M"));
    for (engine, flag) in ENGINES.iter().flat_map(|engine| ['i', 'a'].map(|flag| (engine, flag))) {
        let (source, destination) = (home.path().join("src"), mount.path().join("dst"));
        file(source.join("large"), noise(1, 40 << 20));
        file(destination.join("large"), noise(2, 30 << 20));
        let sync = || sync_with(engine, &[], &source, &destination);
        let ran = frozen(&destination, &[("large", flag)], sync).exits(23);
        assert!(
            ran.err.contains("/large: Operation not permitted (os error 1): in DST it is"),
            "{}",
            ran.err
        );
    }
}

fn attributes_of_the_destination_that_can_not_be_listed_are_told() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        let (source, destination) = (home.path().join("src"), fuse.path().join("dst"));
        file(source.join("d/f"), "contents");
        xattr(source.join("d"), "user.a", b"1");
        file(destination.join("d/old"), "old");
        for (tree, bits) in [(&source, 0o600), (&destination, 0o644)] {
            file(tree.join("same"), "contents");
            mode(tree.join("same"), bits);
            modified(tree.join("same"), 1_000_000, 0);
        }
        for path in [source.join("d"), destination.join("d")] {
            mode(path, 0o700);
        }
        for subject in ["d", "same"] {
            fuse.spoil(Call::Listxattr, subject, Effect::Fail(libc::EACCES), usize::MAX);
        }
        let ran = sync_with(engine, &[], &source, &destination).exits(23);
        let told = "/d: those that SRC lacks, to be removed, which can't be listed: Permission denied";
        assert_eq!(ran.err.matches(told).count(), 1, "{}", ran.err);
        assert!(!ran.err.contains("posix_acl"), "{}", ran.err);
        assert_eq!(fs::read_to_string(destination.join("d/f")).unwrap(), "contents");
        assert_eq!(bits(destination.join("d")), 0o700);
        assert_eq!(bits(destination.join("same")), 0o600, "{}", ran.err);
        assert!(ran.err.contains(&told.replace("/d:", "/same:")), "{}", ran.err);
    }
}

/// A file with several names, or one that is to have a capability, is made anew where another one is mended: its contents
/// come, and it is not copied again for what can't be known of it.
fn several_names_and_capabilities_whose_attributes_can_not_be_listed_are_told() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        let (source, destination) = (home.path().join("src"), fuse.path().join("1"));
        for name in ["linked", "able"] {
            file(source.join(name), "contents");
        }
        fs::hard_link(source.join("linked"), source.join("other")).unwrap();
        let capability = [1_u8, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        xattr(source.join("able"), "security.capability", &capability);
        let sync = |options: &[&str], destination: &Path| {
            sync_with(engine, &[&["--json"], options].concat(), &source, destination)
        };
        fuse.spoil(Call::Listxattr, "nothing yet", Effect::Fail(libc::EACCES), usize::MAX);
        let ran = sync(&[], &destination).exits(23);
        assert!(ran.err.contains("/able: security.capability of 20 bytes: "), "{}", ran.err);
        fuse.spoil(Call::Listxattr, "", Effect::Fail(libc::EACCES), usize::MAX);
        let dry = sync(&["-n"], &destination).exits(23);
        let unlisted =
            dry.err.matches("those that SRC lacks, to be removed, which can't be listed: ").count();
        assert_eq!((made(&dry), unlisted), (0, 2), "{} {}", dry.out, dry.err);
        let ran = sync(&[], &destination).exits(23);
        assert_eq!(made(&ran), 0, "{}", ran.out);
        for name in ["able", "linked"] {
            let told = format!("/{name}: those that SRC lacks, to be removed, which can't be listed: ");
            // The first name to come is named.
            assert!(
                ran.err.contains(&told) || ran.err.contains(&told.replace("linked", "other")),
                "{}",
                ran.err
            );
        }
        // Linked to an earlier tree.
        let ran = sync(&["--link-dest=../1"], &fuse.path().join("2")).exits(23);
        let inode = |path: &str| fs::metadata(fuse.path().join(path)).unwrap().ino();
        assert_eq!(["1/able", "1/other"].map(inode), ["2/able", "2/other"].map(inode), "{}", ran.out);
        // In the place of one that is linked to elsewhere.
        mode(source.join("linked"), 0o600);
        for name in ["linked", "able"] {
            file(source.join(name), "new contents");
            sync(&[], &destination);
            assert_eq!(fs::read_to_string(destination.join(name)).unwrap(), "new contents", "{name}");
        }
        assert_eq!(bits(destination.join("other")), 0o600);
        assert_eq!(fs::read_to_string(fuse.path().join("2/able")).unwrap(), "contents");
    }
}
