//! The data sets: trees of files made up by rule, the same on every machine, byte for byte.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use serde::Serialize;

use crate::bench::plan::go_on;
use ringsync::{Escaped, Stop};

/// How much is written at once, in bytes: little, since it counts towards the memory that the tools seem to take.
const BUFFER: usize = 64 << 10;
/// Sparse files have this much data at the start of each stride, and a hole after it.
const DATA: u64 = 64 << 10;
const STRIDE: u64 = 1 << 20;

/// All entries are from September 2020: seconds since the epoch, and what is beyond them.
const TIME: i64 = 1_600_000_000;
const TIME_NANOSECONDS: i64 = 123_456_789;

/// A data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Case {
    Small,
    Tree,
    Large,
    Mixed,
    Sparse,
}

/// One entry of a data set. Its path is beneath the root, after those of its parents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) path: PathBuf,
    pub(crate) what: What,
}

/// What an entry is. Sizes are in bytes; the seed gives the contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    Directory,
    File {
        size: u64,
        seed: u64,
    },
    Sparse {
        size: u64,
        seed: u64,
    },
    Symlink(PathBuf),
    /// A further name of an earlier entry, beneath the root.
    HardLink(PathBuf),
}

type Pieces = Box<dyn Iterator<Item = Piece>>;

impl Case {
    pub(crate) const ALL: [Case; 5] = [Case::Small, Case::Tree, Case::Large, Case::Mixed, Case::Sparse];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Case::Small => "small",
            Case::Tree => "tree",
            Case::Large => "large",
            Case::Mixed => "mixed",
            Case::Sparse => "sparse",
        }
    }

    /// Its entries. `scale` is a factor of how many there are, or, of large and sparse files, how large they are.
    pub(crate) fn pieces(self, scale: f64) -> Pieces {
        match self {
            Case::Small => small(scaled(100_000, scale)),
            Case::Tree => tree(scaled(5_000, scale)),
            Case::Large => large(scaled(2 << 30, scale)),
            Case::Mixed => mixed(scaled(100, scale)),
            Case::Sparse => sparse(scaled(256, scale) * STRIDE),
        }
    }
}

fn scaled(number: u64, scale: f64) -> u64 {
    ((number as f64 * scale).round() as u64).max(1)
}

/// Files of 6 KiB, 200 in a directory.
fn small(files: u64) -> Pieces {
    const IN_DIRECTORY: u64 = 200;
    Box::new((0..files.div_ceil(IN_DIRECTORY)).flat_map(move |number| {
        let directory = PathBuf::from(format!("d{number:05}"));
        let range = number * IN_DIRECTORY..files.min((number + 1) * IN_DIRECTORY);
        let files = range.clone().map({
            let directory = directory.clone();
            move |index| Piece::file(directory.join(format!("f{index:06}")), 6 << 10, index)
        });
        std::iter::once(Piece::new(directory, What::Directory)).chain(files)
    }))
}

/// The shape of a source tree: nested directories, each with 15 files from 32 bytes to 32 KiB and a symlink.
fn tree(directories: u64) -> Pieces {
    const FILES: u64 = 15;
    Box::new((0..directories).flat_map(|number| {
        let directory = nested(number);
        let files = (0..FILES).map({
            let directory = directory.clone();
            move |file| {
                let seed = draw("tree", number * FILES + file);
                Piece::file(directory.join(format!("file{file}.c")), between(seed, 32, 10), seed)
            }
        });
        let link = Piece::new(directory.join("link"), What::Symlink("file0.c".into()));
        std::iter::once(Piece::new(directory, What::Directory)).chain(files).chain([link])
    }))
}

/// The path of a directory: its parent is one of the 400 before it.
fn nested(number: u64) -> PathBuf {
    let mut names = vec![format!("dir{number}")];
    let mut at = number;
    while at > 0 {
        at -= 1 + draw("parent", at) % at.min(400);
        names.push(format!("dir{at}"));
    }
    names.iter().rev().collect()
}

/// One file.
fn large(size: u64) -> Pieces {
    Box::new(std::iter::once(Piece::file("one".into(), size, 0)))
}

/// What a home directory may be like: files from 8 bytes to 8 MiB, symlinks and hard links.
fn mixed(directories: u64) -> Pieces {
    const FILES: u64 = 18;
    Box::new((0..directories).flat_map(|number| {
        let directory = PathBuf::from(format!("album{number}"));
        let files = (0..FILES).map({
            let directory = directory.clone();
            move |file| {
                let seed = draw("mixed", number * FILES + file);
                Piece::file(directory.join(format!("file{file}")), between(seed, 8, 20), seed)
            }
        });
        let links = [
            Piece::new(directory.join("symlink"), What::Symlink("file0".into())),
            Piece::new(directory.join("hard link"), What::HardLink(directory.join("file1"))),
        ];
        std::iter::once(Piece::new(directory, What::Directory)).chain(files).chain(links)
    }))
}

/// Eight files that are mostly holes.
fn sparse(size: u64) -> Pieces {
    Box::new((0..8).map(move |seed| {
        Piece::new(format!("disk{seed}.img").into(), What::Sparse { size, seed: draw("sparse", seed) })
    }))
}

/// A number that looks drawn by chance, the same for the same `index`.
fn draw(what: &str, index: u64) -> u64 {
    let hash = blake3::Hasher::new().update(what.as_bytes()).update(&index.to_le_bytes()).finalize();
    hash.as_bytes().iter().take(8).fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// A size of at least `low`, each of this many doublings of it as likely as the next.
fn between(drawn: u64, low: u64, doublings: u64) -> u64 {
    let base = low << (drawn % doublings);
    base + (drawn >> 32) % base
}

impl Piece {
    fn new(path: PathBuf, what: What) -> Self {
        Piece { path, what }
    }

    fn file(path: PathBuf, size: u64, seed: u64) -> Self {
        Piece::new(path, What::File { size, seed })
    }
}

/// Makes a data set beneath `root`, which is there.
pub(crate) fn write(case: Case, scale: f64, root: &Path, stop: &Stop) -> anyhow::Result<()> {
    for piece in case.pieces(scale) {
        go_on(stop)?;
        let path = root.join(&piece.path);
        let made = match &piece.what {
            What::Directory => std::fs::create_dir(&path).map_err(Into::into),
            What::Symlink(target) => symlink(target, &path).map_err(Into::into),
            What::HardLink(first) => std::fs::hard_link(root.join(first), &path).map_err(Into::into),
            What::File { size, seed } => full(&path, *size, *seed, stop),
            What::Sparse { size, seed } => holey(&path, *size, *seed),
        };
        made.with_context(|| format!("create {}", Escaped::path(&path)))?;
    }
    // What is made in a directory moves its time, so all of them come last.
    age(root)?;
    for piece in case.pieces(scale) {
        go_on(stop)?;
        age(&root.join(piece.path))?;
    }
    Ok(())
}

/// Gives an entry a time that no copy has by chance: some tools take times for equal that are in one second.
fn age(path: &Path) -> anyhow::Result<()> {
    let time = Timespec { tv_sec: TIME, tv_nsec: TIME_NANOSECONDS };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .with_context(|| format!("set times of {}", Escaped::path(path)))
}

/// The bytes of a file: they can't be compressed.
fn noise(seed: u64) -> blake3::OutputReader {
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof()
}

fn full(path: &Path, size: u64, seed: u64, stop: &Stop) -> anyhow::Result<()> {
    let mut file = File::create_new(path)?;
    let mut noise = noise(seed);
    let mut buffer = vec![0; BUFFER.min(size as usize)];
    let mut left = size;
    while left > 0 {
        go_on(stop)?;
        let piece = &mut buffer[..left.min(BUFFER as u64) as usize];
        noise.fill(piece);
        file.write_all(piece)?;
        left -= piece.len() as u64;
    }
    Ok(())
}

fn holey(path: &Path, size: u64, seed: u64) -> anyhow::Result<()> {
    let file = File::create_new(path)?;
    file.set_len(size)?;
    let mut noise = noise(seed);
    let mut buffer = vec![0; DATA as usize];
    for offset in (0..size).step_by(STRIDE as usize) {
        noise.fill(&mut buffer);
        file.write_all_at(&buffer, offset)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(case: Case, scale: f64) -> (u64, u64) {
        case.pieces(scale).fold((0, 0), |(files, bytes), piece| match piece.what {
            What::File { size, .. } | What::Sparse { size, .. } => (files + 1, bytes + size),
            _ => (files, bytes),
        })
    }

    #[test]
    fn sets_are_as_large_as_they_are_said_to_be() {
        assert_eq!(sizes(Case::Small, 1.0), (100_000, 100_000 * 6144));
        assert_eq!(sizes(Case::Large, 1.0), (1, 2 << 30));
        assert_eq!(sizes(Case::Sparse, 1.0), (8, 2 << 30));
        let (files, bytes) = sizes(Case::Tree, 1.0);
        assert!(files == 75_000 && (4 << 10..6 << 10).contains(&(bytes / files)), "{files} {bytes}");
        let (files, bytes) = sizes(Case::Mixed, 1.0);
        assert!(files == 1800 && (900 << 20..1300 << 20).contains(&bytes), "{files} {bytes}");
        for case in Case::ALL {
            assert!(sizes(case, 0.01).1 < sizes(case, 1.0).1 / 20, "{case:?}");
            assert!(sizes(case, 1e-9).0 >= 1, "{case:?}");
        }
    }

    #[test]
    fn two_makings_are_the_same_and_parents_come_first() {
        for case in Case::ALL {
            let pieces: Vec<Piece> = case.pieces(0.02).collect();
            assert_eq!(pieces, case.pieces(0.02).collect::<Vec<_>>());
            let mut made = std::collections::BTreeSet::from([PathBuf::new()]);
            for piece in &pieces {
                assert!(made.contains(piece.path.parent().unwrap()), "{piece:?}");
                assert!(made.insert(piece.path.clone()), "{piece:?} comes twice");
            }
        }
    }

    #[test]
    fn what_is_written_is_what_was_planned() {
        let home = tempfile::tempdir().unwrap();
        for case in Case::ALL {
            let root = home.path().join(case.name());
            std::fs::create_dir(&root).unwrap();
            write(case, 0.002, &root, &Stop::default()).unwrap();
            for piece in case.pieces(0.002) {
                let metadata = root.join(&piece.path).symlink_metadata().unwrap();
                match piece.what {
                    What::Directory => assert!(metadata.is_dir()),
                    What::File { size, .. } | What::Sparse { size, .. } => assert_eq!(metadata.len(), size),
                    What::Symlink(_) => assert!(metadata.is_symlink()),
                    What::HardLink(_) => assert!(metadata.is_file()),
                }
            }
        }
    }
}
