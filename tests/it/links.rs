//! Where link(2) is refused, further names become copies, and files that have no name yet are written under a temporary one.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::support::fuse::{Call, Effect, Fuse};
use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, modified, noise};
use crate::support::{
    ENGINES, Ran, assert_equal, assert_no_litter, assert_whole, program_with, run, scratch, sync_with,
};

tests![
    links_that_are_refused_become_copies: [Need::Tool("strace")],
    a_file_system_without_links_gets_copies: [Need::Fuse],
    names_beyond_the_limit_of_an_inode_are_told: [Need::Fuse],
    names_that_an_earlier_inode_has_no_room_for_get_one_of_their_own,
    an_earlier_inode_with_all_its_names_splits_its_group_and_tells: [Need::Fuse],
    names_beyond_a_mount_point_become_copies: [Need::Root],
    one_file_that_may_have_no_further_names_costs_its_own_links: [Need::Root, Need::FileSystem("ext4"), Need::Tool("chattr")],
    files_that_get_no_name_are_written_under_another: [Need::Tool("strace")],
    directories_get_their_names_where_flags_are_refused: [Need::Tool("strace")],
    a_large_file_without_a_name_is_copied_once: [Need::Root, Need::Tool("strace")],
    files_get_their_names_without_proc: [Need::Root, Need::Tool("unshare"), Need::Tool("setpriv")],
    a_disk_that_fails_is_not_written_to_again: [Need::Tool("strace")],
    a_kill_on_the_other_way_leaves_whole_files: [Need::Tool("strace")],
    snapshots_without_links_are_copies: [Need::Tool("strace")],
    old_versions_are_kept_without_links: [Need::Tool("strace")],
];

/// An inode of ext4 can have 65,000 names. Those of one file stay together.
fn names_that_an_earlier_inode_has_no_room_for_get_one_of_their_own() {
    const NAMES: u64 = 33_000;
    let home = scratch();
    let source = home.path().join("src");
    file(source.join("0"), "many names");
    for number in 1..NAMES {
        fs::hard_link(source.join("0"), source.join(number.to_string())).unwrap();
    }
    for &engine in ENGINES.iter() {
        let tree = |night: u32| home.path().join(format!("{engine}{night}"));
        for night in 1..=3 {
            let earlier = format!("--link-dest=../{engine}{}", night - 1);
            sync_with(engine, &[&earlier], &source, &tree(night)).exits(0);
        }
        let inode = |night| fs::metadata(tree(night).join("7")).unwrap();
        assert!((1..=3).all(|night| inode(night).nlink() == NAMES), "each night has one file of its own");
        fs::remove_dir_all(tree(1)).unwrap();
        fs::remove_dir_all(tree(2)).unwrap();
    }
}

/// What link(2) answers where there are no links, be it the file system, a rule of the kernel or one of a container.
const REFUSALS: [&str; 6] = ["EPERM", "EOPNOTSUPP", "EACCES", "ENOSYS", "EINVAL", "ENOTTY"];

/// Mirrors with some system calls refused: expressions of strace(1).
fn refused(injected: &[&str], engine: &str, options: &[&str], source: &Path, destination: &Path) -> Ran {
    let mut command = program_with(injected);
    command.args(["sync", "--engine", engine]).args(options).arg(source).arg(destination);
    run(command)
}

/// A tree with two inodes that have several names, in more than one directory.
fn build(source: &Path) {
    file(source.join("a"), "the first");
    file(source.join("d/other"), noise(2, 70_000));
    file(source.join("d/alone"), "one name");
    for (old, new) in [("a", "b"), ("a", "d/c"), ("d/other", "d/again"), ("d/other", "e")] {
        fs::hard_link(source.join(old), source.join(new)).unwrap();
    }
}

fn assert_copies(source: &Path, destination: &Path) {
    for name in ["a", "b", "d/c", "d/other", "d/again", "e", "d/alone"] {
        assert_eq!(fs::read(source.join(name)).unwrap(), fs::read(destination.join(name)).unwrap(), "{name}");
        assert_eq!(fs::metadata(destination.join(name)).unwrap().nlink(), 1, "{name}");
    }
    assert_no_litter(destination);
}

/// How many entries a run has made, replaced and linked.
fn made(ran: &Ran) -> u64 {
    let summary = ran.summary();
    ["created", "updated", "linked"].iter().map(|name| summary[name].as_u64().unwrap()).sum()
}

fn links_that_are_refused_become_copies() {
    for (&engine, errno) in ENGINES.iter().flat_map(|engine| REFUSALS.map(|errno| (engine, errno))) {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        build(&source);
        let inject = format!("inject=linkat:error={errno}");
        let again = |options: &[&str]| refused(&[&inject], engine, options, &source, &destination);
        let ran = again(&["--fsync"]).exits(23);
        assert_copies(&source, &destination);
        let lines: Vec<&str> = ran.err.lines().collect();
        assert_eq!(lines.len(), 1, "{errno}: {}", ran.err);
        assert!(
            lines[0].starts_with("ringsync: link ") && lines[0].contains(": one more name of "),
            "{lines:?}"
        );
        assert!(lines[0].ends_with(" (--no-hard-links makes copies of hard links)"), "{lines:?}");
        assert!(ran.out.contains("; 4 copies in place of hard links; 1 error"), "{}", ran.out);
        let second = again(&["--json"]).exits(23);
        assert_eq!((made(&second), second.err.lines().count()), (0, 1), "{}", second.out);
        let left_out = again(&["--no-hard-links", "--json"]).exits(0);
        assert_eq!((made(&left_out), &*left_out.err), (0, ""), "{}", left_out.out);
    }
}

fn a_file_system_without_links_gets_copies() {
    for (&engine, errno) in ENGINES
        .iter()
        .flat_map(|engine| [libc::EPERM, libc::EOPNOTSUPP, libc::ENOSYS].map(|errno| (engine, errno)))
    {
        let fuse = Fuse::new();
        let home = scratch();
        let (source, destination) = (home.path().join("src"), fuse.path().join("dst"));
        build(&source);
        for number in 0..20 {
            fs::hard_link(source.join("a"), source.join(format!("more{number}"))).unwrap();
        }
        fuse.spoil(Call::Link, "", Effect::Fail(errno), usize::MAX);
        let sync = |options: &[&str]| sync_with(engine, options, &source, &destination);
        let ran = sync(&["--no-acls", "--no-xattrs"]).exits(23);
        assert_copies(&source, &destination);
        assert_eq!(ran.err.matches("one more name of").count(), 1, "{}", ran.err);
        let tried = fuse.spoiled(Call::Link);
        let second = sync(&["--no-acls", "--no-xattrs", "--json", "--jobs=1", "--depth=1"]).exits(23);
        assert_eq!(made(&second), 0, "{}", second.out);
        // Those that have begun when the first one knows, of 24.
        let more = fuse.spoiled(Call::Link) - tried;
        assert!(more < 10, "{more} links were tried");
        sync(&["--no-acls", "--no-xattrs", "--no-hard-links"]).exits(0);
    }
}

fn names_beyond_the_limit_of_an_inode_are_told() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        let (source, destination) = (home.path().join("src"), fuse.path().join("dst"));
        build(&source);
        fuse.spoil(Call::Link, "", Effect::Fail(libc::EMLINK), usize::MAX);
        let sync = |options: &[&str]| sync_with(engine, options, &source, &destination);
        let ran = sync(&["--no-acls", "--no-xattrs"]).exits(23);
        assert_copies(&source, &destination);
        assert!(ran.err.contains(": one more name of "), "{}", ran.err);
        assert!(ran.err.contains(" (--no-hard-links makes copies of hard links)"), "{}", ran.err);
        assert!(ran.out.contains("; 4 errors"), "{}", ran.out);
        let again = sync(&["--no-acls", "--no-xattrs", "--json"]).exits(23);
        assert_eq!(made(&again), 0, "{}", again.out);
        sync(&["--no-acls", "--no-xattrs", "--no-hard-links"]).exits(0);
    }
}

/// The destination has a file system inside it: on both sides names are linked to the first one if it is there.
fn names_beyond_a_mount_point_become_copies() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        build(&source);
        fs::create_dir_all(destination.join("d")).unwrap();
        let _mount = Mount::tmpfs_at(&destination.join("d"), "10M");
        let sync = |options: &[&str]| sync_with(engine, options, &source, &destination);
        let ran = sync(&[]).exits(23);
        for name in ["a", "b", "d/c", "d/other", "d/again", "e", "d/alone"] {
            let contents = |root: &Path| fs::read(root.join(name)).unwrap();
            assert_eq!(contents(&source), contents(&destination), "{name}");
        }
        // Once for each of the two.
        let told = ": Invalid cross-device link (os error 18) (--no-hard-links makes copies of hard links)";
        let lines: Vec<&str> = ran.err.lines().collect();
        assert!((1..=2).contains(&lines.len()) && lines.iter().all(|line| line.ends_with(told)), "{lines:?}");
        assert!(ran.out.contains(" copies in place of hard links"), "{}", ran.out);
        // Who comes first may be another one this time.
        let again = sync(&["--json"]).exits(23);
        let counts = ["created", "updated", "bytes"].map(|name| again.summary()[name].as_u64());
        assert_eq!(counts, [Some(0); 3], "{}", again.out);
        sync(&["--no-hard-links"]).exits(0);
    }
}

/// The names to come are linked to the copy, and the next tree has one inode again.
fn an_earlier_inode_with_all_its_names_splits_its_group_and_tells() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        let source = home.path().join("src");
        let [older, newer] = ["1", "2"].map(|name| fuse.path().join(name));
        file(source.join("a"), "contents");
        let names = ["b", "c", "e"];
        names.iter().for_each(|name| fs::hard_link(source.join("a"), source.join(name)).unwrap());
        let options = ["--no-acls", "--no-xattrs", "--json", "--jobs=1", "--depth=1"];
        sync_with(engine, &options, &source, &older).exits(0);
        // One more name, and it has them all.
        fuse.spoil_after(1, Call::Link, Effect::Fail(libc::EMLINK));
        let options = [&options[..], &["--link-dest=../1"]].concat();
        let ran = sync_with(engine, &options, &source, &newer).exits(23);
        assert_eq!(ran.summary()["linked"], 1, "{}", ran.out);
        assert!(ran.err.contains(": one more name of "), "{}", ran.err);
        for name in ["a", "b", "c", "e"] {
            assert_eq!(fs::read_to_string(newer.join(name)).unwrap(), "contents");
        }
        fuse.release();
        let options = [&options[..4], &["--link-dest=../2"]].concat();
        sync_with(engine, &options, &source, &fuse.path().join("3")).exits(0);
        let inode = |name: &str| fs::metadata(fuse.path().join("3").join(name)).unwrap().ino();
        assert!(["b", "c", "e"].iter().all(|name| inode(name) == inode("a")));
    }
}

fn one_file_that_may_have_no_further_names_costs_its_own_links() {
    for &engine in ENGINES.iter() {
        let mount = crate::support::mount::Mount::new("ext4", "64M");
        let home = scratch();
        let (source, destination) = (home.path().join("src"), mount.path().join("dst"));
        build(&source);
        fs::remove_file(source.join("b")).unwrap();
        fs::remove_file(source.join("d/c")).unwrap();
        sync_with(engine, &[], &source, &destination).exits(0);
        fs::hard_link(source.join("a"), source.join("b")).unwrap();
        // In the place where memory lists it first, so that the other one is to be linked to it.
        fs::rename(source.join("a"), source.join("d/a")).unwrap();
        fs::rename(source.join("d/a"), source.join("a")).unwrap();
        for name in ["d/again", "e"] {
            fs::remove_file(destination.join(name)).unwrap();
        }
        crate::support::tool("chattr", &["+i", destination.join("a").to_str().unwrap()]);
        let ran = sync_with(engine, &["--jobs=1", "--depth=1"], &source, &destination).exits(23);
        crate::support::tool("chattr", &["-i", destination.join("a").to_str().unwrap()]);
        assert!(ran.err.contains("dst/b: one more name of a"), "{}", ran.err);
        assert_eq!(fs::read(destination.join("b")).unwrap(), b"the first");
        assert_eq!(fs::metadata(destination.join("e")).unwrap().nlink(), 3, "{}", ran.out);
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_eq!(fs::metadata(destination.join("b")).unwrap().nlink(), 2);
    }
}

/// Files of every size class, and names that the destination has already.
fn build_files(source: &Path, destination: &Path) {
    for index in 0..12 {
        file(source.join(format!("d{}/f{index}", index % 3)), noise(index, 1000 * index as usize));
    }
    file(source.join("large"), noise(99, 5 << 20));
    file(source.join("d1/old"), "a new version");
    file(destination.join("d1/old"), "old");
    modified(destination.join("d1/old"), 5, 0);
}

fn files_that_get_no_name_are_written_under_another() {
    let errors = ["EPERM", "EOPNOTSUPP", "ENOENT", "EINVAL", "EXDEV", "EACCES", "ENOSYS", "EMLINK"];
    for (&engine, errno) in ENGINES.iter().flat_map(|engine| errors.map(|errno| (engine, errno))) {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        build_files(&source, &destination);
        let inject = format!("inject=linkat:error={errno}");
        let manifest = home.path().join("sums");
        let mut options = vec!["--fsync", "--verify", "--manifest", manifest.to_str().unwrap()];
        if errno != "ENOENT" {
            options.extend(["--backup", "--suffix=.old"]); // of what is gone there is no old version
        }
        let ran = refused(&[&inject], engine, &options, &source, &destination).exits(0);
        assert_eq!(ran.err, "", "{errno}");
        if errno != "ENOENT" {
            assert_eq!(fs::read(destination.join("d1/old.old")).unwrap(), b"old", "{errno}");
            fs::remove_file(destination.join("d1/old.old")).unwrap();
        }
        assert_eq!(fs::read_to_string(&manifest).unwrap().lines().count(), 14);
        crate::support::assert_equal(&source.join("d0"), &destination.join("d0"));
        assert_whole(&source, &destination);
        assert_eq!(fs::read(destination.join("large")).unwrap(), noise(99, 5 << 20));
        assert_eq!(fs::read(destination.join("d1/old")).unwrap(), b"a new version");
    }
}

/// A sandbox may refuse a rename with flags, which it does not know, and not one without.
fn directories_get_their_names_where_flags_are_refused() {
    for (&engine, errno) in
        ENGINES.iter().flat_map(|engine| ["EPERM", "EACCES", "ENOSYS", "EINVAL"].map(|errno| (engine, errno)))
    {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        build_files(&source, &destination);
        let inject = format!("inject=renameat2:error={errno}");
        refused(&[&inject], engine, &[], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert_no_litter(&destination);
    }
}

/// As another user than root, who may link what has no name through /proc alone.
fn files_get_their_names_without_proc() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        build_files(&source, &destination);
        crate::support::tool("chown", &["-R", "12345:12345", home.path().to_str().unwrap()]);
        let program = home.path().join("ringsync");
        fs::copy(crate::support::program(), &program).unwrap();
        let script = format!(
            "mount -t tmpfs none /proc && exec setpriv --reuid=12345 --regid=12345 --clear-groups {} sync \
             --engine {engine} {} {}",
            program.display(),
            source.display(),
            destination.display()
        );
        let mut command = std::process::Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]).env("XDG_STATE_HOME", home.path().join("state"));
        let ran = run(command);
        assert!(matches!(ran.code, Some(0 | 23)), "{ran:?}");
        assert_no_litter(&destination);
        assert_eq!(fs::read(destination.join("large")).unwrap(), noise(99, 5 << 20), "{}", ran.err);
        assert_eq!(fs::read(destination.join("d2/f5")).unwrap(), noise(5, 5000), "{}", ran.err);
    }
}

fn a_disk_that_fails_is_not_written_to_again() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        build(&source);
        fs::create_dir(&destination).unwrap();
        let ran = refused(&["inject=linkat:error=EIO"], engine, &["--no-hard-links"], &source, &destination);
        let ran = ran.exits(23);
        assert!(ran.err.contains("dst/a: Input/output error"), "{}", ran.err);
        assert!(!destination.join("a").exists());
    }
}

/// An overlay has nameless files, and does not say what lies below it.
fn a_large_file_without_a_name_is_copied_once() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, lower) = (home.path().join("src"), home.path().join("lower"));
        fs::create_dir(&lower).unwrap();
        let overlay = Mount::overlay(&lower, home.path());
        let destination = overlay.path().join("dst");
        file(source.join("large"), noise(1, 9 << 20));
        let refusal = "inject=linkat:error=EOPNOTSUPP";
        let ran = refused(&[refusal], engine, &["--json", "-j1"], &source, &destination).exits(0);
        assert_eq!(ran.summary()["bytes"], 9 << 20, "{}", ran.out);
        assert_equal(&source, &destination);
        assert_no_litter(&destination);
    }
}

fn a_kill_on_the_other_way_leaves_whole_files() {
    for (&engine, number) in ENGINES.iter().flat_map(|engine| [1, 2, 5, 9].map(|number| (engine, number))) {
        for call in ["rename,renameat,renameat2", "linkat", "utimensat", "openat"] {
            let home = scratch();
            let (source, destination) = (home.path().join("src"), home.path().join("dst"));
            build(&source);
            build_files(&source, &destination);
            let refusal = "inject=linkat:error=EOPNOTSUPP";
            let kill = format!("inject={call}:error=EOPNOTSUPP:signal=KILL:when={number}");
            let kill = if call == "linkat" { kill } else { kill.replace("error=EOPNOTSUPP:", "") };
            let injected = if call == "linkat" { vec![&*kill] } else { vec![refusal, &*kill] };
            refused(&injected, engine, &[], &source, &destination);
            let old = fs::read(destination.join("d1/old")).unwrap();
            assert!(old == b"old" || old == b"a new version", "{engine} {call} {number}: {old:?}");
            for name in ["a", "b", "large", "d2/f5"] {
                if let Ok(contents) = fs::read(destination.join(name)) {
                    assert_eq!(
                        contents,
                        fs::read(source.join(name)).unwrap(),
                        "{engine} {call} {number} {name}"
                    );
                }
            }
            refused(&[refusal], engine, &["--no-hard-links"], &source, &destination).exits(0);
            assert_no_litter(&destination);
            for name in ["a", "b", "d/c", "d/other", "d/again", "e", "large", "d1/old"] {
                let contents = |root: &Path| fs::read(root.join(name)).unwrap();
                assert_eq!(contents(&source), contents(&destination), "{engine} {call} {number} {name}");
            }
        }
    }
}

fn snapshots_without_links_are_copies() {
    for (&engine, errno) in ENGINES.iter().flat_map(|engine| REFUSALS.map(|errno| (engine, errno))) {
        let home = scratch();
        let (source, first) = (home.path().join("src"), home.path().join("first"));
        for index in 0..5 {
            file(source.join(format!("d/f{index}")), noise(index, 1000));
        }
        sync_with(engine, &[], &source, &first).exits(0);
        let second = home.path().join("second");
        let options = ["--link-dest", first.to_str().unwrap()];
        let ran =
            refused(&[&format!("inject=linkat:error={errno}")], engine, &options, &source, &second).exits(0);
        crate::support::assert_equal(&source, &second);
        if errno != "EACCES" {
            assert_eq!(ran.err.lines().count(), 1, "{errno}: {}", ran.err);
            assert!(ran.err.contains("is copied, not linked to --link-dest: "), "{errno}: {}", ran.err);
        }
    }
}

fn old_versions_are_kept_without_links() {
    for (&engine, errno) in ENGINES.iter().flat_map(|engine| REFUSALS.map(|errno| (engine, errno))) {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        build(&source);
        let inject = format!("inject=linkat:error={errno}");
        let backups = home.path().join("backups");
        let options = ["--backup-dir", backups.to_str().unwrap(), "--delete"];
        let again = || refused(&[&inject], engine, &options, &source, &destination);
        again().exits(23);
        again().exits(23);
        let kept = || fs::read_dir(&backups).map_or(0, Iterator::count);
        assert_eq!(kept(), 0, "{errno}: what stays has no old version");
        fs::remove_file(source.join("d/alone")).unwrap();
        fs::write(source.join("a"), "another one").unwrap();
        again().exits(23);
        assert_eq!(fs::read(backups.join("d/alone")).unwrap(), b"one name");
        for name in ["a", "b", "d/c"] {
            assert_eq!(fs::read(backups.join(name)).unwrap(), b"the first", "{errno} {name}");
            assert_eq!(fs::read(destination.join(name)).unwrap(), b"another one", "{errno} {name}");
        }
        assert_no_litter(home.path());
    }
}
