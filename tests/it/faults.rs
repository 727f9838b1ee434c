//! Disks and limits that fail: the right exit code, an error with operation and path, nothing half-written, and all
//! other files done.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::support::mount::{Image, Mount};
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, noise, snapshot};
use crate::support::{
    ENGINES, assert_equal, assert_no_litter, assert_whole, program, run, scratch, sync_with, tool,
};

tests![
    a_full_quota_breaks_off: [Need::FileSystem("btrfs")],
    unreadable_blocks_cost_their_file_alone: [Need::FileSystem("ext4")],
    broken_contents_cost_their_file_alone: [Need::FileSystem("btrfs")],
    a_destination_that_cannot_be_made_is_refused: [Need::FileSystem("ext4")],
    a_chain_longer_than_the_descriptors_is_copied: [Need::Tool("prlimit")],
];

fn a_full_quota_breaks_off() {
    let home = scratch();
    let source = home.path().join("src");
    for index in 0..400 {
        file(source.join(format!("d{}/file{index}", index % 10)), noise(index, 100_000));
    }
    file(source.join("large"), noise(1000, 20 << 20));
    for &engine in ENGINES.iter() {
        let mount = Mount::new("btrfs", "400M");
        let place = mount.path().to_str().unwrap();
        let limited = mount.path().join("limited");
        tool("btrfs", &["-q", "quota", "enable", place]);
        tool("btrfs", &["-q", "subvolume", "create", limited.to_str().unwrap()]);
        tool("btrfs", &["-q", "qgroup", "limit", "16M", limited.to_str().unwrap()]);
        let destination = limited.join("dst");
        file(destination.join("d3/file3"), "old");
        let ran = sync_with(engine, &[], &source, &destination).exits(11);
        assert!(ran.err.contains("Disk quota exceeded"), "{}", ran.err);
        assert!(ran.err.lines().count() < 300, "files in flight fail, but the others are not even tried");
        if fs::read(destination.join("d3/file3")).unwrap() == b"old" {
            fs::remove_file(destination.join("d3/file3")).unwrap();
        }
        assert_whole(&source, &destination);
    }
}

/// The place of some bytes in an image. They must be there once.
fn find(image: &Image, bytes: &[u8]) -> u64 {
    let all = fs::read(image.path()).unwrap();
    let starts = (0..all.len()).step_by(512).filter(|&at| all[at..].starts_with(bytes));
    let places: Vec<usize> = starts.collect();
    assert_eq!(places.len(), 1, "{places:?}");
    places[0] as u64
}

/// Mirrors, and requires an error for each of these files, which can't be read, and for nothing else.
fn copy_all_but(unreadable: &[&str], engine: &str, source: &Path, destination: &Path) {
    let ran = sync_with(engine, &[], source, destination).exits(23);
    for name in unreadable {
        let line = format!("read source {}: Input/output error", source.join(name).display());
        assert!(ran.err.contains(&line), "{line} is not among\n{}", ran.err);
    }
    assert_eq!(ran.err.lines().count(), unreadable.len(), "{}", ran.err);
    assert_no_litter(destination);
}

/// The disk ends before its file system does: what lies beyond can't be read.
fn unreadable_blocks_cost_their_file_alone() {
    let image = Image::new("ext4", "64M", &["-O", "^has_journal,^inline_data", "-b", "4096"]);
    let mount = image.mount();
    let source = mount.path().join("src");
    file(source.join("good"), noise(1, 100_000));
    file(mount.path().join("between"), noise(2, 20 << 20));
    file(source.join("small"), noise(3, 50_000));
    file(source.join("large"), noise(4, 10 << 20));
    let whole = snapshot(&source);
    drop(mount);
    let (good, small, large) =
        (find(&image, &noise(1, 512)), find(&image, &noise(3, 512)), find(&image, &noise(4, 512)));
    assert!(good < small && small < large, "{good}, {small}, {large}");
    // Cut under the mount: one that is too short would not be mounted.
    let mount = image.mount_read_only();
    image.truncate(small);
    let source = mount.path().join("src");
    for &engine in ENGINES.iter() {
        let home = scratch();
        let destination = home.path().join("dst");
        file(destination.join("small"), "old");
        copy_all_but(&["small", "large"], engine, &source, &destination);
        assert_eq!(fs::read(destination.join("small")).unwrap(), b"old");
        assert!(!destination.join("large").exists());
        assert_eq!(snapshot(&destination).get(Path::new("good")), whole.get(Path::new("good")));
    }
}

/// btrfs knows the checksum of what it reads.
fn broken_contents_cost_their_file_alone() {
    let image = Image::new("btrfs", "200M", &[]);
    let mount = image.mount();
    let source = mount.path().join("src");
    for (seed, name, size) in [(1, "good", 70_000), (2, "small", 70_000), (3, "a/large", 10 << 20)] {
        file(source.join(name), noise(seed, size));
    }
    drop(mount);
    let disk = File::options().write(true).open(image.path()).unwrap();
    for seed in [2, 3] {
        let at = find(&image, &noise(seed, 512));
        disk.write_all_at(b"other bytes", at + 100).unwrap();
    }
    drop(disk);
    let mount = image.mount();
    let source = mount.path().join("src");
    for &engine in ENGINES.iter() {
        let home = scratch();
        let destination = home.path().join("dst");
        file(destination.join("small"), "old");
        copy_all_but(&["small", "a/large"], engine, &source, &destination);
        assert_eq!(fs::read(destination.join("good")).unwrap(), noise(1, 70_000));
        assert_eq!(fs::read(destination.join("small")).unwrap(), b"old");
        assert_eq!(fs::read_dir(destination.join("a")).unwrap().count(), 0);
    }
}

fn a_destination_that_cannot_be_made_is_refused() {
    let home = scratch();
    let source = home.path().join("src");
    file(source.join("file"), "x");
    let mount = Mount::new("ext4", "32M");
    tool("mount", &[Path::new("-o"), Path::new("remount,ro"), mount.path()]);
    for &engine in ENGINES.iter() {
        let destination = mount.path().join("dst");
        let ran = sync_with(engine, &[], &source, &destination).exits(3);
        let line = format!("{}: Read-only file system", destination.display());
        assert!(ran.err.contains(&line) && ran.err.lines().count() == 1, "{}", ran.err);
        assert_eq!(ran.out, "");
    }
}

/// As many directories open at once as the chain is long would be too many.
fn a_chain_longer_than_the_descriptors_is_copied() {
    let home = scratch();
    let source = home.path().join("src");
    let mut path = source.clone();
    for level in 0..300 {
        path.push(format!("d{level}"));
        file(path.join("file"), format!("level {level}"));
    }
    for &engine in ENGINES.iter() {
        let destination = home.path().join(engine);
        let mut command = std::process::Command::new("prlimit");
        command.arg("--nofile=256:256").arg(program()).args(["sync", "--engine", engine]);
        command.arg(&source).arg(&destination);
        run(command).exits(0);
        assert_equal(&source, &destination);
    }
}
