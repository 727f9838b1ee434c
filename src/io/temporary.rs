//! Names of files and directories that are not done, and what tells them from everything else later.
//!
//! A name is `.ringsync-`, 16 hex digits by chance, and 16 hex digits of a keyed hash of this chance and of the very
//! directory that the name is in. A later run of the same user tells by them what is litter of ours, and takes no other file
//! for it: not a copy of one in another directory, and nothing that another user has named so, for the key is secret
//! (files/key.rs). A name that was seen once can be given again by the owner of its directory, so that what is removed
//! is what that owner could remove as well: a name that is no directory, an empty directory, and the files in a
//! directory that has our mark.
//!
//! The mark of a new directory is its mode: sticky, and closed to everyone but its owner. mkdir(2) sets it, nobody else can
//! set it on a directory of ours, and it goes when the directory is done.
//!
//! A lock on the file (flock(2)) shows that its run still lives.

use std::ffi::{CStr, CString};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, FlockOperation, Mode, StatxAttributes};
use rustix::io::Errno;
use rustix::rand::GetRandomFlags;

use crate::error::{Context, Operation, Result};
use crate::plan::writers::looks_unfinished;
use crate::stat::{Inode, Stat};

const PREFIX: &[u8] = b".ringsync-";
const PARTIAL: &[u8] = b".ringsync-partial-";
/// Begins the name of a directory that holds what is replaced.
const ASIDE: &[u8] = b".replaced-by-ringsync-";
/// Hex digits of the chance, and of the proof.
const DIGITS: usize = 16;

/// What a new directory is made with: [`is_marked`] tells it by this.
pub(crate) const MARKED: Mode = Mode::RWXU.union(Mode::SVTX);

/// Makes temporary names, and knows them again.
#[derive(Debug, Clone)]
pub(crate) struct TemporaryNames {
    key: [u8; LENGTH],
}

impl TemporaryNames {
    /// Those of every run that has this key.
    pub(crate) fn new(key: [u8; LENGTH]) -> Self {
        TemporaryNames { key }
    }

    /// Those of this run alone: no later one knows them.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub(crate) fn of_this_run() -> Result<Self> {
        by_chance().map(TemporaryNames::new)
    }

    /// A name for this directory that is not in use: 2⁶⁴ chances, and `O_EXCL` or link(2) would tell.
    ///
    /// # Errors
    /// `EPERM`: nothing in the directory can be renamed or removed, since it is append-only (chattr(1)).
    pub(crate) fn new_name(&self, within: impl AsFd) -> rustix::io::Result<CString> {
        self.by_chance(PREFIX, within)
    }

    /// The same for a directory that is to hold what is replaced, until it is removed: it is no litter.
    pub(crate) fn aside_name(&self, within: impl AsFd) -> rustix::io::Result<CString> {
        self.by_chance(ASIDE, within)
    }

    fn by_chance(&self, prefix: &[u8], within: impl AsFd) -> rustix::io::Result<CString> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u64(COUNT.fetch_add(1, Ordering::Relaxed));
        let chance = format!("{:016x}", hasher.finish());
        self.c_name(prefix, changeable(within)?, &chance)
    }

    /// The name of a file that may be resumed: 16 hex digits of its own name's hash stand for the chance.
    pub(crate) fn partial_name(&self, within: impl AsFd, name: &CStr) -> rustix::io::Result<CString> {
        let digits = blake3::hash(name.to_bytes()).to_hex();
        self.c_name(PARTIAL, changeable(within)?, &digits[..DIGITS])
    }

    /// Whether a name is one that was made with this key for this directory, of what is not done.
    pub(crate) fn is_ours(&self, name: &[u8], directory: Inode) -> bool {
        self.is_made(if is_partial(name) { PARTIAL } else { PREFIX }, name, directory)
    }

    /// Whether a name was made with this key for this directory to hold what is replaced.
    pub(crate) fn is_aside(&self, name: &[u8], directory: Inode) -> bool {
        self.is_made(ASIDE, name, directory)
    }

    fn is_made(&self, prefix: &[u8], name: &[u8], directory: Inode) -> bool {
        let chance = name.strip_prefix(prefix).and_then(|rest| rest.get(..DIGITS));
        let chance = chance.and_then(|chance| std::str::from_utf8(chance).ok());
        chance.is_some_and(|chance| self.name(prefix, directory, chance) == name)
    }

    fn c_name(&self, prefix: &[u8], directory: Inode, chance: &str) -> rustix::io::Result<CString> {
        CString::new(self.name(prefix, directory, chance)).map_err(|_| Errno::INVAL)
    }

    fn name(&self, prefix: &[u8], directory: Inode, chance: &str) -> Vec<u8> {
        let mut proof = blake3::Hasher::new_keyed(&self.key);
        proof.update(&directory.number.to_le_bytes()).update(prefix).update(chance.as_bytes());
        let mut name = prefix.to_vec();
        name.extend_from_slice(chance.as_bytes());
        name.extend_from_slice(&proof.finalize().to_hex().as_bytes()[..DIGITS]);
        name
    }
}

/// The inode of a directory. One in which nothing can be renamed or removed takes new names all the same, and a temporary
/// one would stay there.
fn changeable(directory: impl AsFd) -> rustix::io::Result<Inode> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let found = rustix::fs::statx(directory, c"", flags, Stat::FIELDS)?;
    match found.stx_attributes.contains(StatxAttributes::APPEND) {
        true => Err(Errno::PERM),
        false => Ok(Stat::from(&found).inode),
    }
}

/// Whether a temporary name is that of a file that may be resumed.
pub(crate) fn is_partial(name: &[u8]) -> bool {
    name.starts_with(PARTIAL)
}

/// Whether a directory is one that this user's runs made and did not complete. Without a file system that keeps modes
/// nothing tells.
pub(crate) fn is_marked(directory: &Stat) -> bool {
    directory.uid == rustix::process::geteuid().as_raw() && looks_unfinished(directory)
}

/// Holds the file's lock for as long as it is open, unless another run has it. A file system without locks only leaves
/// litter longer.
pub(crate) fn lock(fd: &OwnedFd) -> bool {
    rustix::fs::flock(fd, FlockOperation::NonBlockingLockExclusive) != Err(Errno::WOULDBLOCK)
}

/// Bytes of a key.
pub(crate) const LENGTH: usize = 32;

/// A key that nobody else has, and no later run.
pub(crate) fn by_chance() -> Result<[u8; LENGTH]> {
    let mut key = [0; LENGTH];
    match rustix::rand::getrandom(&mut key, GetRandomFlags::empty()) {
        // Up to 256 bytes are never cut short (getrandom(2)).
        Ok(LENGTH) => Ok(key),
        Ok(_) => Err(Errno::IO).at(Operation::UseKey, || "random bytes"),
        Err(errno) => Err(errno).at(Operation::UseKey, || "random bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stat::stat_open;

    #[test]
    fn only_our_names_in_the_right_directory_are_litter() {
        let (here, there) = (Inode { device: 1, number: 77 }, Inode { device: 1, number: 78 });
        let names = TemporaryNames::new([7; LENGTH]);
        let others = TemporaryNames::new([8; LENGTH]);
        for prefix in [PREFIX, PARTIAL] {
            let name = names.name(prefix, here, "0123456789abcdef");
            assert!(name.len() < 64);
            assert!(names.is_ours(&name, here));
            assert!(!names.is_ours(&name, there), "a copy in another directory is a user's file");
            assert!(!others.is_ours(&name, here), "and so is what somebody made with another key");
        }
        for name in
            [&b".ringsync-0123456789abcdef0123456789abcdef"[..], b".ringsync-", b".ringsync-partial-", b""]
        {
            assert!(!names.is_ours(name, here));
        }
        assert!(!names.is_ours(b".ringsync-\xff123456789abcdef0123456789abcdef", here));
        // A file cut off at the end of a name, or with more behind it, is none.
        let name = names.name(PREFIX, here, "0123456789abcdef");
        assert!(!names.is_ours(&name[..name.len() - 1], here));
        assert!(!names.is_ours(&[&name[..], b"0"].concat(), here));
    }

    #[test]
    fn names_differ_and_fit_their_directory() {
        let home = tempfile::tempdir().unwrap();
        let directory = std::fs::File::open(home.path()).unwrap();
        let inode = stat_open(&directory).unwrap().inode;
        let names = TemporaryNames::of_this_run().unwrap();
        let (one, other) = (names.new_name(&directory).unwrap(), names.new_name(&directory).unwrap());
        assert_ne!(one, other);
        assert!(names.is_ours(one.to_bytes(), inode));
        let partial = names.partial_name(&directory, c"file").unwrap();
        assert_eq!(names.partial_name(&directory, c"file").unwrap(), partial, "the next run finds it");
        assert!(is_partial(partial.to_bytes()) && names.is_ours(partial.to_bytes(), inode));
    }
}
