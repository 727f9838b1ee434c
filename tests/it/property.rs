//! Random trees: whatever they are, the mirror equals them, and a second run over another tree does too.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rustix::fs::FileType;

use crate::support::needs::tests;
use crate::support::tree::{mode, modified, node, noise};
use crate::support::{ENGINES, assert_equal, assert_no_litter, scratch, sync_with};

tests![random_trees_are_mirrored_and_mirrored_again];

/// One entry of a random tree. Its place is chosen among the directories made before it.
#[derive(Debug, Clone)]
struct Seed {
    place: usize,
    name: Vec<u8>,
    what: What,
    mode: u32,
    seconds: i64,
    nanoseconds: i64,
    xattr: Option<Vec<u8>>,
}

#[derive(Debug, Clone)]
enum What {
    Directory,
    File { size: usize, seed: u64 },
    Sparse { size: u64, data: Vec<(u64, usize)> },
    Symlink(Vec<u8>),
    Link(usize),
    Fifo,
    Socket,
}

fn what() -> impl Strategy<Value = What> {
    let sizes = prop_oneof![
        4 => 0_usize..10_000,
        2 => prop::sample::select(vec![0, 4096, 65_535, 65_536, 65_537, 262_144, 262_145]),
        1 => 8_388_600_usize..8_388_620,
    ];
    prop_oneof![
        4 => Just(What::Directory),
        8 => (sizes, any::<u64>()).prop_map(|(size, seed)| What::File { size, seed }),
        1 => (1_u64..20_000_000, vec((0_u64..20_000_000, 1_usize..20_000), 0..4))
            .prop_map(|(size, data)| What::Sparse { size, data }),
        2 => vec(1_u8..=255, 1..300).prop_map(What::Symlink),
        3 => any::<usize>().prop_map(What::Link),
        1 => Just(What::Fifo),
        1 => Just(What::Socket),
    ]
}

fn seed() -> impl Strategy<Value = Seed> {
    let byte = any::<u8>().prop_filter("no name has it", |&byte| byte != 0 && byte != b'/');
    // Few short names, so that the second tree meets the first one's; and some of the longest.
    let name = prop_oneof![
        6 => prop::sample::select(vec!["a", "b", "c", "d", "e", "f", "g", "h"]).prop_map(|name| name.into()),
        2 => vec(byte, 1..=255),
    ];
    let xattr = prop::option::weighted(0.2, vec(any::<u8>(), 0..500));
    // The owner may always read and enter, so that the test needs no root.
    // No directory has the mode of one that was taken from its owner (plan/writers.rs).
    let is_usual = |mode: &u32| mode & 0o5077 != 0o5000;
    let mode = (0_u32..0o10000).prop_map(|mode| mode | 0o700).prop_filter("a mark", is_usual);
    (any::<usize>(), name, what(), mode, 0_i64..4_000_000_000, 0_i64..1_000_000_000, xattr).prop_map(
        |(place, name, what, mode, seconds, nanoseconds, xattr)| Seed {
            place,
            name,
            what,
            mode,
            seconds,
            nanoseconds,
            xattr,
        },
    )
}

fn build(root: &Path, seeds: &[Seed]) {
    use std::os::unix::ffi::OsStrExt;
    fs::create_dir(root).unwrap();
    let (mut directories, mut files, mut taken) =
        (vec![root.to_path_buf()], Vec::<PathBuf>::new(), BTreeSet::new());
    for seed in seeds {
        let path = directories[seed.place % directories.len()].join(std::ffi::OsStr::from_bytes(&seed.name));
        if [&b"."[..], b".."].contains(&&seed.name[..])
            || path.as_os_str().len() > 3000
            || !taken.insert(path.clone())
        {
            continue;
        }
        match &seed.what {
            What::Directory => {
                fs::create_dir(&path).unwrap();
                directories.push(path);
            }
            What::File { size, seed: noise_seed } => {
                fs::write(&path, noise(*noise_seed, *size)).unwrap();
                files.push(path);
            }
            What::Sparse { size, data } => {
                let file = fs::File::create(&path).unwrap();
                for (offset, length) in data {
                    file.write_all_at(&noise(*offset, *length), *offset).unwrap();
                }
                file.set_len(*size).unwrap();
                files.push(path);
            }
            What::Symlink(target) => symlink(std::ffi::OsStr::from_bytes(target), &path).unwrap(),
            What::Link(which) if !files.is_empty() => {
                fs::hard_link(&files[which % files.len()], &path).unwrap()
            }
            What::Link(_) => {}
            What::Fifo => node(&path, FileType::Fifo, (0, 0)),
            What::Socket => node(&path, FileType::Socket, (0, 0)),
        }
    }
    finish(root, seeds);
}

/// Sets modes, times and attributes, children before their directories.
fn finish(root: &Path, seeds: &[Seed]) {
    let entries = walkdir::WalkDir::new(root).contents_first(true).into_iter().map(Result::unwrap);
    let entries: Vec<_> = entries.collect();
    for (entry, seed) in entries.iter().zip(seeds.iter().cycle()) {
        let kind = entry.file_type();
        if let Some(value) = seed.xattr.as_ref().filter(|_| kind.is_file() || kind.is_dir()) {
            crate::support::tree::xattr(entry.path(), "user.random", value);
        }
        if !kind.is_symlink() {
            mode(entry.path(), seed.mode);
        }
        modified(entry.path(), seed.seconds, seed.nanoseconds);
    }
}

fn random_trees_are_mirrored_and_mirrored_again() {
    let cases = if std::env::var_os("RINGSYNC_TEST_ALL").is_some() { 60 } else { 12 };
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let trees = (vec(seed(), 0..60), vec(seed(), 0..60));
    let result = TestRunner::new(config).run(&trees, |(first, second)| {
        for &engine in ENGINES.iter() {
            let home = scratch();
            let at = |name: &str| home.path().join(name);
            build(&at("first"), &first);
            sync_with(engine, &[], &at("first"), &at("dst")).exits(0);
            assert_equal(&at("first"), &at("dst"));
            let quiet = sync_with(engine, &["--json"], &at("first"), &at("dst")).exits(0);
            prop_assert_eq!(quiet.json().len(), 2, "{}", quiet.out);
            mirror_over(engine, home.path(), &second);
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// Mirrors another tree over what is there. What the first one had beyond stays, and a directory that is not empty
/// stays in the way of what is none. Where others may write, a directory that holds more than the source's is not given
/// what would give others more of it. All else must be equal.
fn mirror_over(engine: &str, home: &Path, seeds: &[Seed]) {
    let (source, destination) = (home.join("second"), home.join("dst"));
    build(&source, seeds);
    let ran = sync_with(engine, &[], &source, &destination);
    let lines_with = |text: &str| ran.err.lines().filter(|line| line.contains(text)).count();
    let (in_the_way, closed) = (lines_with("is in the way"), lines_with("is not given SRC's owner and mode"));
    assert_eq!(ran.err.lines().count(), in_the_way + closed, "{}", ran.err);
    let ran = ran.exits(if in_the_way + closed > 0 { 23 } else { 0 });
    assert_no_litter(&destination);
    let (want, have) =
        (crate::support::tree::snapshot(&source), crate::support::tree::snapshot(&destination));
    let mut unlike = 0;
    for (path, node) in &want {
        let Some(other) = have.get(path) else { panic!("{} is missing: {}", path.display(), ran.err) };
        if node.kind != "directory" && other.kind == "directory" {
            continue;
        }
        let alike = (&node.kind, node.mode, node.owner, &node.contents, &node.xattrs, node.modified)
            == (&other.kind, other.mode, other.owner, &other.contents, &other.xattrs, other.modified);
        // A directory that is kept from others is at least as closed as the source's.
        let closed = node.kind == "directory" && other.mode & !node.mode & 0o077 == 0;
        assert!(alike || closed, "{}: {node:?} became {other:?}", path.display());
        unlike += usize::from(!alike);
    }
    assert!(unlike <= closed, "{unlike} directories differ: {}", ran.err);
}
