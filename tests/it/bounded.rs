//! Promise 7: memory and descriptors do not grow with the tree.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, Mode, OFlags};

use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, noise, sparse};
use crate::support::{ENGINES, Ran, everything, program, run, scratch};

tests![
    paths_longer_than_the_kernel_takes,
    a_deep_tree_is_linked_to_an_earlier_one,
    memory_does_not_grow_with_the_files,
    one_directory_with_a_million_files: [Need::Root, Need::Tool("prlimit")],
    a_hundred_thousand_links_to_one_file: [Need::Root, Need::Tool("prlimit")],
    a_sparse_file_of_terabytes: [Need::Tool("prlimit")],
    what_is_extra_may_be_deep: [Need::Tool("prlimit")],
    a_chain_longer_than_the_descriptors: [Need::Tool("prlimit")],
];

/// A chain of directories, each with a file, whose path is four times `PATH_MAX`.
pub fn make_chain(root: &Path, depth: usize) -> OwnedFd {
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

/// What is looked up from the top for each entry, and for each directory above it, takes hours at this depth.
fn a_deep_tree_is_linked_to_an_earlier_one() {
    const DEPTH: usize = 800;
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        fs::create_dir(&source).unwrap();
        drop(make_chain(&source, DEPTH));
        crate::support::sync_with(engine, &[], &source, &home.path().join("earlier")).exits(0);
        let options = ["--link-dest=../earlier", "--json"];
        let ran = crate::support::sync_with(engine, &options, &source, &destination).exits(0);
        assert_eq!(ran.summary()["linked"], DEPTH);
        assert_eq!(deepest(&destination, DEPTH), format!("level {}", DEPTH - 1));
        crate::support::tool("rm", &[Path::new("-rf"), &source, &destination, &home.path().join("earlier")]);
    }
}

/// The peak resident memory of a run, in KiB, as `--stats` tells it.
fn peak(engine: &str, source: &Path, destination: &Path) -> u64 {
    peak_of(&crate::support::sync_with(engine, &["--stats"], source, destination).exits(0))
}

fn peak_of(ran: &Ran) -> u64 {
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

/// More than any run takes, whatever it mirrors, in KiB. Without optimisation one takes from 33 to 45 MiB, as its threads
/// happen to take turns.
const MOST_MEMORY: u64 = 56 << 10;

/// A run that may have so many descriptors.
fn sync_bounded(descriptors: usize, engine: &str, source: &Path, destination: &Path) -> Ran {
    sync_few(descriptors, &["--stats", "--engine", engine], source, destination)
}

fn sync_few(descriptors: usize, options: &[&str], source: &Path, destination: &Path) -> Ran {
    let mut command = Command::new("prlimit");
    command.arg(format!("--nofile={descriptors}:{descriptors}")).arg(program()).arg("sync").args(options);
    command.arg(source).arg(destination);
    run(command)
}

/// Requires that neither a fresh copy nor a run with nothing to do takes more than any may.
fn assert_bounded(engine: &str, source: &Path, destination: &Path) {
    for what in ["a fresh copy", "nothing to do"] {
        let peak = peak_of(&sync_bounded(1024, engine, source, destination).exits(0));
        assert!(peak < MOST_MEMORY, "{engine}, {what}: {peak} KiB");
    }
}

/// A tmpfs that counts no inodes, nor links: one that others use may have few left.
fn any_number_of_names() -> Mount {
    Mount::new("tmpfs", "80%,nr_inodes=0")
}

/// A million where nothing may be skipped, and on one engine: that takes about a minute.
fn one_directory_with_a_million_files() {
    let home = any_number_of_names();
    let source = home.path().join("src");
    fs::create_dir(&source).unwrap();
    let mut made = 0;
    for (engine, files) in ENGINES.iter().rev().zip([200_000, if everything() { 1_000_000 } else { 200_000 }])
    {
        for name in made..files {
            fs::File::create(source.join(name.to_string())).unwrap();
        }
        made = files;
        let destination = home.path().join(engine);
        assert_bounded(engine, &source, &destination);
        assert_eq!(fs::read_dir(&destination).unwrap().count(), files);
        fs::remove_dir_all(&destination).unwrap();
    }
}

fn a_hundred_thousand_links_to_one_file() {
    const LINKS: u64 = 100_000;
    let home = any_number_of_names();
    let source = home.path().join("src");
    file(source.join("d0/first"), "shared");
    for name in 1..LINKS {
        let directory = source.join(format!("d{}", name % 50));
        if name < 50 {
            fs::create_dir_all(&directory).unwrap();
        }
        fs::hard_link(source.join("d0/first"), directory.join(name.to_string())).unwrap();
    }
    for &engine in ENGINES.iter() {
        let destination = home.path().join(engine);
        assert_bounded(engine, &source, &destination);
        assert_eq!(fs::metadata(destination.join("d0/first")).unwrap().nlink(), LINKS);
        assert_eq!(fs::read(destination.join("d0/first")).unwrap(), b"shared");
    }
}

fn a_sparse_file_of_terabytes() {
    const SIZE: u64 = 8 << 40;
    let home = scratch();
    let source = home.path().join("src");
    fs::create_dir(&source).unwrap();
    let piece = noise(1, 128 << 10);
    let places: Vec<u64> = (0..8).map(|index| index * (1 << 40) + index * 12_288).collect();
    let data: Vec<(u64, &[u8])> = places.iter().map(|&at| (at, &piece[..])).collect();
    sparse(source.join("sparse"), SIZE, &data);
    for &engine in ENGINES.iter() {
        let destination = home.path().join(engine);
        assert_bounded(engine, &source, &destination);
        let copy = fs::File::open(destination.join("sparse")).unwrap();
        let stat = copy.metadata().unwrap();
        assert_eq!(stat.len(), SIZE);
        assert!(stat.blocks() * 512 < 2 << 20, "{} blocks", stat.blocks());
        for &at in &places {
            let mut read = vec![0; piece.len()];
            copy.read_exact_at(&mut read, at).unwrap();
            assert!(read == piece, "at {at}");
        }
    }
}

/// A chain of directories as deep as this, of which not all can be open at once. The paths in it are of up to 400 KB, and
/// each report on its way has one.
fn a_chain_longer_than_the_descriptors() {
    const DEPTH: usize = 2000;
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, empty) = (home.path().join("src"), home.path().join("empty"));
        fs::create_dir(&source).unwrap();
        fs::create_dir(&empty).unwrap();
        drop(make_chain(&source, DEPTH));
        let few = [1024, 256, 128].map(|descriptors| {
            let destination = home.path().join(descriptors.to_string());
            let ran = sync_bounded(descriptors, engine, &source, &destination);
            let again = sync_bounded(descriptors, engine, &source, &destination);
            let deepest = (ran.code == Some(0)).then(|| deepest(&destination, DEPTH));
            let delete = ["--delete", "--allow-empty-source", "--engine", engine];
            let deleted = sync_few(descriptors, &delete, &empty, &destination);
            let left = fs::read_dir(&destination).unwrap().count();
            (descriptors, ran, again, deepest, deleted, left, destination)
        });
        for tree in few.iter().map(|few| &few.6).chain([&source]) {
            crate::support::tool("rm", &[Path::new("-rf"), tree]);
        }
        for (descriptors, ran, again, deepest, deleted, left, _) in few {
            let ran = ran.exits(0);
            again.exits(0);
            assert_eq!(deepest.unwrap(), format!("level {}", DEPTH - 1));
            deleted.exits(0);
            assert_eq!(left, 0);
            // What the allocator has of a thread's it keeps for that thread, also when another one frees it. All reports
            // together have 800 MB of paths.
            let peak = peak_of(&ran);
            assert!(peak < 8 * MOST_MEMORY, "{engine}, {descriptors} descriptors: {peak} KiB");
        }
    }
}

/// Comparing and verifying list what the source, or the manifest, lacks: however deep that is, with few descriptors.
fn what_is_extra_may_be_deep() {
    const DEPTH: usize = 400;
    let home = scratch();
    let (empty, deep, sums) = (home.path().join("empty"), home.path().join("deep"), home.path().join("sums"));
    fs::create_dir(&empty).unwrap();
    fs::create_dir(&deep).unwrap();
    fs::write(&sums, "").unwrap();
    drop(make_chain(&deep, DEPTH));
    let run = |arguments: &[&OsStr]| {
        let mut command = Command::new("prlimit");
        command.arg("--nofile=128").arg(program()).args(arguments);
        crate::support::run(command)
    };
    let check = run(&["check".as_ref(), empty.as_os_str(), deep.as_os_str()]);
    let verify = run(&["verify".as_ref(), "--strict".as_ref(), sums.as_os_str(), deep.as_os_str()]);
    crate::support::tool("rm", &[Path::new("-rf"), &deep]);
    let lines = |ran: &Ran, word: &str| ran.out.lines().filter(|line| line.contains(word)).count();
    assert_eq!(lines(&check.exits(23), "*deleting"), 2 * DEPTH);
    assert_eq!(lines(&verify.exits(23), ": EXTRA"), DEPTH);
}
