//! Promise 7: memory and descriptors do not grow with the tree.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

use crate::support::needs::tests;
use crate::support::{ENGINES, scratch};

tests![paths_longer_than_the_kernel_takes, memory_does_not_grow_with_the_files];

/// A chain of directories, each with a file, whose path is four times `PATH_MAX`.
fn make_chain(root: &Path, depth: usize) -> OwnedFd {
    let open = |within: &OwnedFd, name: &str| {
        rustix::fs::openat(within, name, OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).unwrap()
    };
    let mut directory = rustix::fs::openat(CWD, root, OFlags::DIRECTORY, Mode::empty()).unwrap();
    for level in 0..depth {
        let name = format!("{level:04}-{}", "n".repeat(200));
        rustix::fs::mkdirat(&directory, &name, Mode::RWXU).unwrap();
        directory = open(&directory, &name);
        let flags = OFlags::CREATE | OFlags::WRONLY;
        let file = rustix::fs::openat(&directory, "file", flags, Mode::RUSR | Mode::WUSR).unwrap();
        rustix::io::write(&file, format!("level {level}").as_bytes()).unwrap();
    }
    directory
}

/// Follows the chain and reads its deepest file.
fn deepest(root: &Path, depth: usize) -> String {
    let mut directory = rustix::fs::openat(CWD, root, OFlags::DIRECTORY, Mode::empty()).unwrap();
    for level in 0..depth {
        let name = format!("{level:04}-{}", "n".repeat(200));
        directory = rustix::fs::openat(&directory, &name, OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    let file = rustix::fs::openat(&directory, "file", OFlags::RDONLY, Mode::empty()).unwrap();
    let mut text = [0; 64];
    let length = rustix::io::read(&file, &mut text).unwrap();
    String::from_utf8_lossy(&text[..length]).into_owned()
}

fn paths_longer_than_the_kernel_takes() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        fs::create_dir(&source).unwrap();
        drop(make_chain(&source, 80));
        crate::support::sync_with(engine, &[], &source, &destination).exits(0);
        assert_eq!(deepest(&destination, 80), "level 79");
        let again = crate::support::sync_with(engine, &["--json"], &source, &destination).exits(0);
        assert_eq!(again.summary()["unchanged"], 161);
        // The paths are too long for whoever removes the scratch directory by path.
        for tree in [&source, &destination] {
            crate::support::tool("rm", &[Path::new("-rf"), tree]);
        }
    }
}

/// The peak resident memory of a run, in KiB, as `--stats` tells it.
fn peak(engine: &str, source: &Path, destination: &Path) -> u64 {
    let ran = crate::support::sync_with(engine, &["--stats"], source, destination).exits(0);
    let line = ran.out.lines().find(|line| line.starts_with("peak memory, KiB")).expect("a figure");
    line.split_whitespace().last().unwrap().replace(',', "").parse().unwrap()
}

fn memory_does_not_grow_with_the_files() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let source = home.path().join("src");
        let grow = |from: usize, to: usize| {
            for directory in from..to {
                let path = source.join(format!("d{directory}"));
                fs::create_dir_all(&path).unwrap();
                for name in 0..500 {
                    fs::File::create(path.join(format!("file{name}"))).unwrap();
                }
            }
        };
        grow(0, 20);
        let few = peak(engine, &source, &home.path().join("few"));
        grow(20, 200);
        let many = peak(engine, &source, &home.path().join("many"));
        assert!(many < few + 16 * 1024, "{engine}: {few} KiB for 10,000 files, {many} KiB for 100,000");
    }
}
