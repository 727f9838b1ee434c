//! Promise 6: a file that fails costs that file, and the exit code tells.

use std::fs;
use std::path::Path;

use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, noise, snapshot};
use crate::support::{ENGINES, Ran, assert_no_litter, program, run, scratch, sync_with};

tests![
    what_cannot_be_read_costs_itself_alone: [Need::Root, Need::Tool("setpriv")],
    what_cannot_be_made_costs_itself_alone: [Need::Root, Need::Tool("setpriv")],
    an_immutable_file_is_named: [Need::FileSystem("ext4"), Need::Tool("chattr")],
    a_full_disk_breaks_off: [Need::Root],
    a_file_system_out_of_inodes_breaks_off: [Need::Root],
    a_file_that_grows_all_the_time_is_reported,
    a_read_only_destination_fails_each_file: [Need::FileSystem("ext4")],
    usage_errors_exit_1,
];

/// `sync` as another user.
fn sync_as_nobody(engine: &str, source: &Path, destination: &Path) -> Ran {
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(program());
    command.args(["sync", "--no-owner", "--engine", engine]).arg(source).arg(destination);
    run(command)
}

fn what_cannot_be_read_costs_itself_alone() {
    for engine in ENGINES {
        let home = scratch();
        mode(home.path(), 0o777);
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for name in ["good", "unreadable", "closed/inner", "listed/inner", "searched/inner"] {
            file(source.join(name), name);
        }
        mode(source.join("unreadable"), 0o000);
        mode(source.join("closed"), 0o000);
        mode(source.join("listed"), 0o744); // names can be listed and not opened
        mode(source.join("searched"), 0o711); // the other way round
        let ran = sync_as_nobody(engine, &source, &destination).exits(23);
        let mut lines: Vec<String> =
            ran.err.lines().map(|line| line.replace(&format!("{}/", source.display()), "")).collect();
        lines.sort();
        let denied = "Permission denied (os error 13)";
        assert_eq!(
            lines,
            [
                format!("ringsync: list source directory closed: {denied}"),
                format!("ringsync: list source directory searched: {denied}"),
                format!("ringsync: open source listed/inner: {denied}"),
                format!("ringsync: open source unreadable: {denied}"),
            ]
        );
        assert_eq!(fs::read(destination.join("good")).unwrap(), b"good");
        for absent in ["unreadable", "closed/inner", "listed/inner", "searched/inner"] {
            assert!(!destination.join(absent).exists(), "{absent}");
        }
        assert!(destination.join("closed").exists());
    }
}

fn what_cannot_be_made_costs_itself_alone() {
    for engine in ENGINES {
        let home = scratch();
        mode(home.path(), 0o777);
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for name in ["good/file", "theirs/file", "theirs/second", "theirs/deep/er/file"] {
            file(source.join(name), name);
        }
        file(destination.join("theirs/old"), "root's"); // a directory of root's: not ours to write
        std::os::unix::fs::chown(&destination, Some(65534), Some(65534)).unwrap();
        let ran = sync_as_nobody(engine, &source, &destination).exits(23);
        assert!(ran.err.lines().all(|line| line.contains("/dst/theirs")), "{}", ran.err);
        assert!(
            ran.err.contains("create") && ran.err.contains("/dst/theirs/file: Permission denied"),
            "{}",
            ran.err
        );
        assert_eq!(fs::read(destination.join("good/file")).unwrap(), b"good/file");
        assert!(!destination.join("theirs/file").exists());
    }
}

fn an_immutable_file_is_named() {
    let mount = Mount::new("ext4", "64M");
    for engine in ENGINES {
        let (source, destination) = (mount.path().join("src"), mount.path().join(engine));
        file(source.join("file"), "new");
        file(source.join("other"), "new");
        file(destination.join("file"), "old!");
        let path = destination.join("file");
        crate::support::tool("chattr", &[Path::new("+i"), &path]);
        let ran = sync_with(engine, &[], &source, &destination);
        crate::support::tool("chattr", &[Path::new("-i"), &path]);
        let ran = ran.exits(23);
        assert!(ran.err.contains("/file: Operation not permitted"), "{}", ran.err);
        assert_eq!(fs::read(destination.join("file")).unwrap(), b"old!");
        assert_eq!(fs::read(destination.join("other")).unwrap(), b"new");
        assert_no_litter(&destination);
    }
}

/// Requires that each file below `destination` is whole.
fn assert_whole(source: &Path, destination: &Path) {
    let (from, to) = (snapshot(source), snapshot(destination));
    assert_no_litter(destination);
    for (path, node) in to.iter().filter(|(_, node)| node.kind == "file") {
        assert_eq!(from.get(path), Some(node), "{}", path.display());
    }
}

fn a_full_disk_breaks_off() {
    for engine in ENGINES {
        let home = scratch();
        let source = home.path().join("src");
        for index in 0..300 {
            file(source.join(format!("small{index}")), noise(index, 50_000));
        }
        file(source.join("large"), noise(1000, 20 << 20));
        let mount = Mount::new("tmpfs", "9M");
        let destination = mount.path().join("dst");
        let ran = sync_with(engine, &[], &source, &destination).exits(11);
        assert!(ran.err.contains("No space left on device"), "{}", ran.err);
        assert!(ran.out.starts_with("broken off: "), "{}", ran.out);
        assert_whole(&source, &destination);
    }
}

fn a_file_system_out_of_inodes_breaks_off() {
    for engine in ENGINES {
        let home = scratch();
        let source = home.path().join("src");
        for index in 0..300 {
            file(source.join(format!("d{}/file{index}", index % 40)), "x");
        }
        let mount = Mount::new("tmpfs", "50M,nr_inodes=100");
        let ran = sync_with(engine, &[], &source, &mount.path().join("dst")).exits(11);
        assert!(ran.err.contains("No space left on device"), "{}", ran.err);
        assert_whole(&source, &mount.path().join("dst"));
    }
}

fn a_file_that_grows_all_the_time_is_reported() {
    use std::io::Write;
    use std::sync::atomic::{AtomicBool, Ordering};
    for engine in ENGINES {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("log"), noise(0, 6 << 20));
        file(source.join("other"), "other");
        file(destination.join("log"), "old");
        let done = AtomicBool::new(false);
        let ran = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut log = fs::OpenOptions::new().append(true).open(source.join("log")).unwrap();
                while !done.load(Ordering::Relaxed) {
                    log.write_all(b"one more line\n").unwrap();
                }
            });
            let ran = sync_with(engine, &[], &source, &destination);
            done.store(true, Ordering::Relaxed);
            ran
        });
        let ran = ran.exits(23);
        assert!(ran.err.contains("log: it changed while it was being read"), "{}", ran.err);
        assert_eq!(fs::read(destination.join("log")).unwrap(), b"old");
        assert_eq!(fs::read(destination.join("other")).unwrap(), b"other");
        assert_no_litter(&destination);
    }
}

fn a_read_only_destination_fails_each_file() {
    let home = scratch();
    let source = home.path().join("src");
    file(source.join("a/file"), "x");
    file(source.join("other"), "x");
    let mount = Mount::new("ext4", "32M");
    crate::support::tool("mount", &[Path::new("-o"), Path::new("remount,ro"), mount.path()]);
    for engine in ENGINES {
        let ran = sync_with(engine, &[], &source, mount.path()).exits(23);
        assert!(ran.err.lines().all(|line| line.contains("Read-only file system")), "{}", ran.err);
        assert!(ran.err.contains("/other: Read-only"), "{}", ran.err);
    }
}

fn usage_errors_exit_1() {
    for arguments in [
        &["sync"][..],
        &["sync", "a"],
        &["sync", "a", "b", "--dept", "3"],
        &["snyc"],
        &[],
        &["sync", "a", "b", "-j0"],
    ] {
        let mut command = std::process::Command::new(program());
        command.args(arguments);
        let ran = run(command).exits(1);
        assert_eq!(ran.out, "");
        assert!(ran.err.contains("Usage") || ran.err.contains("--help"), "{}", ran.err);
    }
    let mut command = std::process::Command::new(program());
    command.args(["sync", "a", "b", "--dept", "3"]);
    assert!(run(command).err.contains("--depth"), "a typo is answered with what was meant");
}
