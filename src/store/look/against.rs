//! Whether what was restored is what a manifest says. The two are told in different orders, and neither is kept: of each
//! file a digest of path and hash is added to one of many sums on the one side, and taken off it on the other. Where a sum is
//! not zero in the end, its few files are read once more.

use std::collections::HashSet;
use std::fs::File;
use std::io::BufReader;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use blake3::{Hash, Hasher};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::content::manifest::{Reader, Record};
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::event::{EntryEvent, Kind, Reporter};
use crate::io::path::open_entry;
use crate::stat::{proc_path, stat_open};
use crate::stop::Stop;
use crate::store::own::held;

/// As many sums as this: 1 MiB.
const SUMS: usize = 1 << 16;
/// As many errors are kept.
const KEPT: usize = 100;

/// Gathers what a run tells of its files.
#[derive(Debug)]
pub(super) struct Against {
    sums: Vec<u128>,
    /// Files that are to be compared.
    files: u64,
    /// Which files the run has reported, where it may leave others alone: those are not compared.
    told: Option<HashSet<u64>>,
}

impl Reporter for Against {
    fn entry(&mut self, directory: &Path, event: &EntryEvent) {
        if event.kind != Kind::File || event.error.is_some() {
            return;
        }
        if let Some(hash) = event.hash {
            let path = directory.join(event.name());
            let sum = &mut self.sums[number(&path)];
            *sum = sum.wrapping_add(digest(&path, &hash));
            self.files += 1;
            if let Some(told) = &mut self.told {
                told.insert(short(&path));
            }
        } else if self.told.is_none() {
            self.files += 1; // what did not change is compared by the manifest's lines
        }
    }
}

/// Which sum a path belongs to.
fn number(path: &Path) -> usize {
    let bytes = blake3::hash(path.as_os_str().as_bytes());
    usize::from(u16::from_le_bytes([bytes.as_bytes()[0], bytes.as_bytes()[1]]))
}

/// What stands for a path.
fn short(path: &Path) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&blake3::hash(path.as_os_str().as_bytes()).as_bytes()[8..16]);
    u64::from_le_bytes(bytes)
}

fn digest(path: &Path, hash: &Hash) -> u128 {
    let digest = Hasher::new().update(hash.as_bytes()).update(path.as_os_str().as_bytes()).finalize();
    let mut half = [0; 16];
    half.copy_from_slice(&digest.as_bytes()[..16]);
    u128::from_le_bytes(half)
}

impl Against {
    /// Of a run that may leave files alone, or does not.
    pub(super) fn new(leaves_some: bool) -> Self {
        Against { sums: vec![0; SUMS], files: 0, told: leaves_some.then(HashSet::new) }
    }

    /// How many files are to be compared.
    pub(super) fn files(&self) -> u64 {
        self.files
    }

    /// Compares with a manifest, and tells also how many files it has no hash of. `places` are the paths in the snapshot, and
    /// what they became in the destination; `trees` the snapshot and the destination.
    pub(super) fn compare(
        mut self,
        manifest: &Path,
        places: &[(PathBuf, PathBuf)],
        (snapshot, destination): (&Path, &Path),
        stop: &Stop,
    ) -> Result<(Vec<Error>, u64)> {
        let is_told = |path: &Path| self.told.as_ref().is_none_or(|told| told.contains(&short(path)));
        let mut known = 0_u64;
        let malformed = each_line(manifest, places, |path, line| {
            let sum = &mut self.sums[number(path)];
            *sum = sum.wrapping_sub(digest(path, &line.hash));
            known += u64::from(is_told(path));
            !stop.is_stopped()
        })?;
        let mut wrong: Vec<Error> = malformed.into_iter().collect();
        each_line(manifest, places, |path, line| {
            if self.sums[number(path)] != 0 && is_told(path) {
                let restored = hash(destination, path, stop);
                known -= u64::from(matches!(restored, Ok(None)));
                wrong.extend(complaint(snapshot, (destination, path), restored, line, stop));
            }
            !stop.is_stopped() && wrong.len() < KEPT
        })?;
        Ok((wrong, self.files.saturating_sub(known)))
    }
}

/// Hands on the lines of a manifest that are about what was restored, with the path in the destination. Returns what is wrong
/// with the first line that is none.
fn each_line(
    manifest: &Path,
    places: &[(PathBuf, PathBuf)],
    mut take: impl FnMut(&Path, &Record) -> bool,
) -> Result<Option<Error>> {
    let at = || manifest;
    let mut malformed = None;
    let file = held::open(manifest).at(Operation::ReadManifest, at)?;
    for line in Reader::new(BufReader::new(file)) {
        let line = match line.at(Operation::ReadManifest, at)? {
            (_, Ok(line)) => line,
            (number, Err(_)) => {
                malformed.get_or_insert_with(|| no_line(manifest, number));
                continue;
            }
        };
        for (from, to) in places {
            let Ok(below) = line.path.strip_prefix(from) else { continue };
            let path = if below.as_os_str().is_empty() { to.clone() } else { to.join(below) };
            if !take(&path, &line) {
                return Ok(malformed);
            }
        }
    }
    Ok(malformed)
}

fn no_line(manifest: &Path, number: u64) -> Error {
    let why = format!("line {number} is damaged: the file that it was for can't be compared");
    Error::new(Operation::ReadManifest, manifest, Cause::Refused(why))
}

/// What is wrong with a file, if anything is. One that the destination does not have was left out, or is an error already.
fn complaint(
    snapshot: &Path,
    (destination, path): (&Path, &Path),
    restored: std::io::Result<Option<Hash>>,
    line: &Record,
    stop: &Stop,
) -> Option<Error> {
    let at = |cause: Cause| Some(Error::new(Operation::Verify, destination.join(path), cause));
    match restored {
        Ok(restored) if restored? == line.hash => return None,
        Ok(_) => {}
        Err(error) => return at(error.into()),
    }
    let why = match hash(snapshot, &line.path, stop) {
        Ok(Some(stored)) if stored != line.hash => {
            "it was damaged in the store: it is not what it was when the snapshot was taken"
        }
        _ => "it is not what the snapshot had when it was taken",
    };
    at(Cause::Refused(why.into()))
}

/// The hash of a file below a directory. `None`: there is none, or the run was stopped.
fn hash(tree: &Path, path: &Path, stop: &Stop) -> std::io::Result<Option<Hash>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::openat(CWD, tree, flags, Mode::empty())?;
    match open_entry(&top, path.as_os_str().as_bytes()) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        held => hash_held(&held?, stop),
    }
}

/// The hash of a file that is held. `None`: it is no regular file, or the run was stopped.
pub(super) fn hash_held(held: &std::os::fd::OwnedFd, stop: &Stop) -> std::io::Result<Option<Hash>> {
    if stat_open(held)?.kind != Kind::File {
        return Ok(None);
    }
    let mut file = File::open(proc_path(held))?;
    let (mut hasher, mut buffer) = (Hasher::new(), vec![0; 1 << 20]);
    while !stop.is_stopped() {
        match std::io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(Some(hasher.finalize())),
            length => hasher.update(&buffer[..length]),
        };
    }
    Ok(None)
}
