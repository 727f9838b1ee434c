//! The names of backups: the old name with a suffix, and where that is taken, numbered as GNU's tools number them.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use crate::stat::Inode;

/// The name that a backup gets if it can: `file~`.
pub(crate) fn plain(name: &[u8], suffix: &[u8]) -> rustix::io::Result<CString> {
    CString::new([name, suffix].concat()).map_err(|_| Errno::INVAL)
}

/// The name it gets where others have those before it: `file.~1~`. It ends in the suffix, by which backups are known.
pub(crate) fn numbered(name: &[u8], suffix: &[u8], number: u32) -> rustix::io::Result<CString> {
    let mut numbered = [name, format!(".~{number}~").as_bytes()].concat();
    if !numbered.ends_with(suffix) {
        numbered.extend_from_slice(suffix);
    }
    CString::new(numbered).map_err(|_| Errno::INVAL)
}

/// Names that a backup must not take, since this run has given them to something: entries of the source whose names look
/// like those of backups, and numbered backups. There are few of both.
#[derive(Default)]
pub(crate) struct Claims {
    hasher: RandomState,
    /// Hashes of a directory and a name in it. Two that coincide only give a backup a number it need not have.
    names: [Mutex<HashSet<u64>>; SHARDS],
}

const SHARDS: usize = 32;

/// The claims of one directory. While this is held, no other backup gets a name there.
pub(crate) struct Held<'a> {
    claims: &'a Claims,
    directory: Inode,
    names: MutexGuard<'a, HashSet<u64>>,
}

impl Claims {
    pub(crate) fn hold(&self, directory: Inode) -> Held<'_> {
        let shard = &self.names[self.hasher.hash_one(directory) as usize % SHARDS];
        let names = shard.lock().unwrap_or_else(PoisonError::into_inner);
        Held { claims: self, directory, names }
    }
}

impl Held<'_> {
    fn hash(&self, name: &CStr) -> u64 {
        self.claims.hasher.hash_one((self.directory, name))
    }

    pub(crate) fn has(&self, name: &CStr) -> bool {
        self.names.contains(&self.hash(name))
    }

    pub(crate) fn add(&mut self, name: &CStr) {
        let hash = self.hash(name);
        self.names.insert(hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_backup_ends_in_the_suffix() {
        let table = [
            ("~", "file~", "file.~1~", "file.~12~"),
            (".old", "file.old", "file.~1~.old", "file.~12~.old"),
            ("", "file", "file.~1~", "file.~12~"),
            ("1~", "file1~", "file.~1~", "file.~12~1~"),
        ];
        for (suffix, first, second, twelfth) in table {
            let suffix = suffix.as_bytes();
            assert_eq!(plain(b"file", suffix).unwrap().to_bytes(), first.as_bytes());
            for (number, expected) in [(1, second), (12, twelfth)] {
                let name = numbered(b"file", suffix, number).unwrap();
                assert_eq!(name.to_bytes(), expected.as_bytes());
                assert!(name.to_bytes().ends_with(suffix));
            }
        }
    }

    #[test]
    fn a_claim_holds_in_its_directory_alone() {
        let (here, there) = (Inode { device: 1, number: 2 }, Inode { device: 1, number: 3 });
        let claims = Claims::default();
        claims.hold(here).add(c"file~");
        assert!(claims.hold(here).has(c"file~") && !claims.hold(here).has(c"other~"));
        assert!(!claims.hold(there).has(c"file~"));
    }
}
