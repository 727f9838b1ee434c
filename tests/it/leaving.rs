//! What appears, vanishes and moves in SRC during a run that takes long: the rest is mirrored, what is missing is told, and the
//! mirror of what is not known any more is left alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::fuse::{Call, Fuse};
use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, snapshot};
use crate::support::{ENGINES, Ran, assert_equal, await_of, finish, program, scratch, sync_with};

tests![
    what_moves_during_a_run_is_told_and_its_mirror_stays: [Need::Fuse],
    a_tree_that_vanishes_is_a_handful_of_lines: [Need::Fuse],
    a_mount_that_leaves_is_an_error_and_its_mirror_stays: [Need::Fuse],
    a_mount_that_leaves_with_its_directory_keeps_its_mirror: [Need::Fuse],
    a_source_that_is_a_mount_and_leaves_is_an_error: [Need::Fuse],
];

/// A source whose first directory, `a`, is held up when it is listed: nothing after it is known to a run before that.
struct Source(Fuse);

impl Source {
    fn new() -> Source {
        let fuse = Fuse::new();
        file(fuse.path().join("src/a/f"), "first");
        Source(fuse)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("src")
    }

    /// Runs the program, and does something once it has come to `a`.
    fn meanwhile(&self, arguments: &[&str], paths: &[&Path], change: impl FnOnce()) -> Ran {
        self.0.hold(Call::Readdir, "a");
        let mut command = Command::new(program());
        command.args(arguments).args(paths).stdin(Stdio::null());
        let mut child: Child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        await_of(&mut child, "the first directory is listed", || self.0.held() > 0);
        change();
        self.0.release();
        finish(child, Duration::from_secs(60))
    }
}

fn what_moves_during_a_run_is_told_and_its_mirror_stays() {
    for (&engine, code) in ENGINES.iter().flat_map(|engine| [24, 23].map(|code| (engine, code))) {
        let (source, home) = (Source::new(), scratch());
        let (from, destination) = (source.path(), home.path().join("dst"));
        for name in ["moved/deep/f", "moved/g", "stays/f", "vanishes", "replaced/f"] {
            file(from.join(name), name);
        }
        sync_with(engine, &[], &from, &destination).exits(0);
        file(from.join("stays/f"), "changed");
        let arguments = ["sync", "--delete", "--json", "--engine", engine];
        let ran = source.meanwhile(&arguments, &[&from, &destination], || {
            fs::rename(from.join("moved"), from.join("stays/moved")).unwrap();
            fs::remove_file(from.join("vanishes")).unwrap();
            file(from.join("zzz/appears"), "later");
            // What became something else is no mere loss.
            if code == 23 {
                fs::remove_dir_all(from.join("replaced")).unwrap();
                fs::write(from.join("replaced"), "by a file").unwrap();
            }
        });
        assert_eq!(ran.code, Some(code), "{ran:#?}");
        for name in ["moved", "vanishes"] {
            let path = from.join(name);
            assert!(ran.err.contains(&format!("{}: it vanished", path.display())), "{}", ran.err);
        }
        assert_eq!(fs::read(destination.join("stays/f")).unwrap(), b"changed");
        for name in ["moved/deep/f", "moved/g", "vanishes", "replaced/f"] {
            let there = fs::read_to_string(destination.join(name));
            assert!(there.is_ok_and(|there| there == name), "{name}: {}", ran.err);
        }
        sync_with(engine, &["--delete"], &from, &destination).exits(0);
        assert_equal(&from, &destination);
    }
}

fn a_tree_that_vanishes_is_a_handful_of_lines() {
    for &engine in ENGINES.iter() {
        let (source, home) = (Source::new(), scratch());
        let (from, destination) = (source.path(), home.path().join("dst"));
        for number in 0..300 {
            file(from.join(format!("tree/{}/f{number}", number % 30)), "x");
            file(from.join(format!("file{number}")), "x");
        }
        let ran = source.meanwhile(&["sync", "--engine", engine], &[&from, &destination], || {
            fs::remove_dir_all(from.join("tree")).unwrap();
            for number in 0..300 {
                fs::remove_file(from.join(format!("file{number}"))).unwrap();
            }
        });
        let ran = ran.exits(24);
        let lines: Vec<&str> = ran.err.lines().collect();
        assert!(lines.len() <= 6, "{ran:#?}");
        // One directory and 300 files, of which each that was told has a line.
        let told = lines.iter().filter(|line| line.contains(" source ")).count();
        let rest = format!("vanished from SRC during the run: the same for {} more entries", 301 - told);
        assert!(told > 0 && lines.iter().any(|line| line.ends_with(&rest)), "{ran:#?}");
        assert_eq!(fs::read(destination.join("a/f")).unwrap(), b"first");
    }
}

/// A source with something mounted at `disk`, and its mirror.
fn with_disk(source: &Source, destination: &Path, options: &[&str]) -> Mount {
    let point = source.path().join("disk");
    fs::create_dir_all(&point).unwrap();
    let disk = Mount::tmpfs_at(&point, "1M");
    file(disk.path().join("d/f"), "on the disk");
    file(disk.path().join("g"), "there too");
    sync_with("auto", options, &source.path(), destination).exits(0);
    disk
}

fn a_mount_that_leaves_is_an_error_and_its_mirror_stays() {
    for &engine in ENGINES.iter() {
        let lists: &[(&[&str], i32)] = &[
            (&["--delete"], 23),
            (&["--delete", "-x"], 0),
            (&[], 23),
            (&["--delete", "-n"], 23),
            (&["--exclude=/disk/"], 0),
        ];
        for (options, code) in lists {
            let (source, home) = (Source::new(), scratch());
            let destination = home.path().join("dst");
            let disk = with_disk(&source, &destination, &[]);
            file(destination.join("extra"), "extra");
            let before = snapshot(&destination.join("disk/d"));
            let arguments = [&["sync", "--engine", engine], *options].concat();
            let ran = source.meanwhile(&arguments, &[&source.path(), &destination], || drop(disk));
            assert_eq!(ran.code, Some(*code), "{options:?}: {ran:#?}");
            let told = format!("{}: what was mounted there has left", source.path().join("disk").display());
            assert_eq!(ran.err.contains(&told), *code == 23, "{options:?}: {}", ran.err);
            assert_eq!(snapshot(&destination.join("disk/d")), before);
            assert_eq!(fs::read(destination.join("disk/g")).unwrap(), b"there too");
            // What is extra elsewhere goes all the same.
            let deletes = options.contains(&"--delete") && !options.contains(&"-n");
            assert_eq!(destination.join("extra").exists(), !deletes);
        }
    }
}

/// As with an automounter: not even the directory is left.
fn a_mount_that_leaves_with_its_directory_keeps_its_mirror() {
    let (source, home) = (Source::new(), scratch());
    let destination = home.path().join("dst");
    let around = source.path().join("below/around");
    fs::create_dir_all(around.join("disk")).unwrap();
    let disk = Mount::tmpfs_at(&around.join("disk"), "1M");
    file(disk.path().join("f"), "on the disk");
    sync_with("auto", &[], &source.path(), &destination).exits(0);
    file(destination.join("below/around/extra"), "extra");
    file(destination.join("extra"), "extra");
    let arguments = ["sync", "--delete"];
    let ran = source.meanwhile(&arguments, &[&source.path(), &destination], || {
        drop(disk);
        fs::remove_dir_all(&around).unwrap();
    });
    let ran = ran.exits(23);
    assert!(ran.err.contains("below/around/disk: what was mounted there has left"), "{}", ran.err);
    assert_eq!(fs::read(destination.join("below/around/disk/f")).unwrap(), b"on the disk");
    assert!(!destination.join("extra").exists(), "{}", ran.err);
    // The next run finds SRC so, and DST becomes the same.
    sync_with("auto", &["--delete"], &source.path(), &destination).exits(0);
    assert_equal(&source.path(), &destination);
}

fn a_source_that_is_a_mount_and_leaves_is_an_error() {
    let (source, home) = (Source::new(), scratch());
    let into = home.path().join("into");
    fs::create_dir(&into).unwrap();
    let disk = with_disk(&source, &home.path().join("dst"), &[]);
    let [first, second] = ["a", "disk"].map(|name| source.path().join(name));
    let ran = source.meanwhile(&["copy"], &[&first, &second, &into], || drop(disk));
    let ran = ran.exits(23);
    assert!(ran.err.contains("disk: what was mounted there has left"), "{}", ran.err);
}
