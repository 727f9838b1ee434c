//! Names that the destination lists otherwise than the source has them: in another case, in another form of Unicode, or
//! without the dot at the end. What it finds under a name of the source is not extra, whatever it is called there.
//!
//! Neither inode numbers are certain (a program behind FUSE may give each name that it is asked for a number of its own)
//! nor the rules by which names are folded. One of the two is enough for a name to stay. Where neither tells which of the
//! listed names was found, nothing can be told from what is extra.

use std::collections::HashSet;
use std::ffi::CStr;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use crate::engine::state::names::inode;
use crate::error::{Context, Operation, Result};
use crate::event::Kind;
use crate::io::list::{kind_of, names};
use crate::plan::names::folded;
use crate::stat::Inode;

/// What a directory of the destination has under names of the source that it does not list. That takes sixteen bytes a
/// name while it is found.
pub(crate) struct Namesakes {
    state: RandomState,
    inodes: HashSet<Inode>,
    /// Hashes of those names, folded.
    folded: HashSet<u64>,
    /// Of these nothing listed is known yet.
    unknown: HashSet<Inode>,
}

impl Namesakes {
    /// Those of a directory. `is_kept` tells for a name of the source whether the destination keeps what it has of it.
    pub(crate) fn find(
        (source, source_path): (&OwnedFd, impl Fn() -> PathBuf),
        (mirror, mirror_path): (&OwnedFd, impl Fn() -> PathBuf),
        is_kept: impl Fn(&CStr, Kind) -> bool,
    ) -> Result<Self> {
        let state = RandomState::new();
        let (mut listed, mut listed_folded) = (HashSet::new(), HashSet::new());
        for entry in names(mirror).at(Operation::ListDestination, &mirror_path)? {
            let entry = entry.at(Operation::ListDestination, &mirror_path)?;
            let name = entry.file_name();
            listed.insert(state.hash_one(name));
            listed_folded.insert(state.hash_one(folded(name.to_bytes())));
        }
        let (inodes, folds, unknown) = (HashSet::new(), HashSet::new(), HashSet::new());
        let mut found = Namesakes { state, inodes, folded: folds, unknown };
        for entry in names(source).at(Operation::ListSource, &source_path)? {
            let entry = entry.at(Operation::ListSource, &source_path)?;
            let name = entry.file_name();
            if listed.contains(&found.state.hash_one(name)) || !is_kept(name, kind_of(source.as_fd(), &entry))
            {
                continue;
            }
            let inode = inode(mirror, name).at(Operation::StatDestination, &mirror_path)?;
            let Some(inode) = inode else { continue };
            found.inodes.insert(inode);
            let folded = found.state.hash_one(folded(name.to_bytes()));
            found.folded.insert(folded);
            if !listed_folded.contains(&folded) {
                found.unknown.insert(inode);
            }
        }
        Ok(found)
    }

    /// Whether a listed name, which the source lacks, may be one of the source's to the destination.
    pub(crate) fn has(&mut self, name: &CStr, mirror: &OwnedFd) -> rustix::io::Result<bool> {
        if self.inodes.is_empty() {
            return Ok(false);
        }
        let Some(inode) = inode(mirror, name)? else { return Ok(true) }; // listed, and not to be found
        self.unknown.remove(&inode);
        let folded = self.state.hash_one(folded(name.to_bytes()));
        Ok(self.inodes.contains(&inode) || self.folded.contains(&folded))
    }

    /// Whether each of them was seen in the listing.
    pub(crate) fn are_known(&self) -> bool {
        self.unknown.is_empty()
    }
}
