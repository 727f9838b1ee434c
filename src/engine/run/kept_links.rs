//! `--keep-dirlinks`: the directories of the destination that symlinks there stand for.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::stat::Inode;

/// Directories that symlinks stand for; each takes some 100 bytes.
#[derive(Default)]
pub(crate) struct KeptLinks(Mutex<HashMap<Inode, Kept>>);

struct Kept {
    /// Where it lies.
    place: PathBuf,
    /// Whose mirror it is.
    mirrors: PathBuf,
}

impl KeptLinks {
    /// A directory at this place is the mirror of another one. Returns whether it is of no further one.
    pub(crate) fn add(&self, directory: Inode, place: &Path, mirrors: &Path) -> bool {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Kept { place: place.to_path_buf(), mirrors: mirrors.to_path_buf() };
        kept.entry(directory).or_insert_with(new).mirrors == mirrors
    }

    /// Whether there is one at this place, or below it.
    pub(crate) fn are_in(&self, place: &Path) -> bool {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.values().any(|kept| kept.place.starts_with(place))
    }
}
