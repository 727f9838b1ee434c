//! Hard links in a comparison: the names of an inode are held back until the last one has come up, or the run ends,
//! and are then judged together, so that the verdict does not depend on the order in which they came.
//!
//! A name that is held takes some 200 bytes.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::state::directory::Directory;
use crate::event::{Action, Attributes, Changes, Kind};
use crate::stat::{Identity, Inode};

/// One of several names of a source inode, compared with what the destination has under it.
#[derive(Debug)]
pub(crate) struct Twin {
    pub(crate) directory: Arc<Directory>,
    pub(crate) name: CString,
    pub(crate) kind: Kind,
    pub(crate) source: Attributes,
    pub(crate) source_inode: Inode,
    /// What would be done to it if it had no other names.
    pub(crate) action: Action,
    pub(crate) changes: Changes,
    /// Of a symlink that differs.
    pub(crate) target: Option<PathBuf>,
    /// What the destination has under this name, if it can become the file.
    pub(crate) inode: Option<Inode>,
    /// Its source lies where two files may have one inode number.
    pub(crate) doubtful: bool,
}

/// For destination inodes that were read: whether they hold what the source's inode holds.
pub(crate) type SameContents = Arc<tokio::sync::Mutex<HashMap<Inode, bool>>>;

struct TwinGroup {
    names: Vec<Twin>,
    verdicts: SameContents,
    /// Names that have not come up yet.
    missing: u32,
}

/// All names that are held back.
#[derive(Default)]
pub(crate) struct Twins {
    /// Inodes that both trees have under a name: see [`Config::shares_inodes`](crate::Config).
    shared: Mutex<HashSet<Inode>>,
    held: Mutex<HashMap<Identity, TwinGroup>>,
}

impl Twins {
    /// Takes note of an inode that both trees have under one name.
    pub(crate) fn note_shared(&self, inode: Inode) {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).insert(inode);
    }

    /// Whether a name that has other inodes on both sides was, or is now, a name of one that both trees have elsewhere. It is
    /// known when the walk is through.
    pub(crate) fn is_joined(&self, name: &Twin) -> bool {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.contains(&name.source_inode) || name.inode.is_some_and(|inode| shared.contains(&inode))
    }

    /// What is known of the contents of an inode. While one name's contents are read the others wait.
    pub(crate) fn verdicts(&self, source: Identity, links: u32) -> SameContents {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.entry(source).or_insert_with(|| TwinGroup::new(links)).verdicts.clone()
    }

    /// Holds a name back. The last name of an inode gets all of them.
    pub(crate) fn arrive(&self, source: Identity, links: u32, name: Twin) -> Option<Vec<Twin>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let group = held.entry(source).or_insert_with(|| TwinGroup::new(links));
        group.names.push(name);
        group.missing = group.missing.saturating_sub(1);
        match group.missing {
            0 => held.remove(&source).map(|group| group.names),
            _ => None,
        }
    }

    /// Those whose other names lie outside the tree, an inode's at a time.
    pub(crate) fn take_rest(&self) -> Vec<Vec<Twin>> {
        let held = std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner));
        held.into_values().map(|group| group.names).collect()
    }
}

impl TwinGroup {
    fn new(links: u32) -> Self {
        TwinGroup { names: Vec::new(), verdicts: SameContents::default(), missing: links }
    }
}

/// Which of some names, in [`order`], the others should be links to: the first that the destination has, or else the
/// last, as rsync has it.
pub(crate) fn leader(mut inodes: impl ExactSizeIterator<Item = Option<Inode>>) -> usize {
    let last = inodes.len().saturating_sub(1);
    inodes.position(|inode| inode.is_some()).unwrap_or(last)
}

/// The order of rsync's lists: what is in a directory itself comes before what is in its subdirectories.
pub(crate) fn order(one: &Path, other: &Path) -> Ordering {
    let (mut ours, mut theirs) = (one.components().peekable(), other.components().peekable());
    loop {
        let (Some(our), Some(their)) = (ours.next(), theirs.next()) else { return Ordering::Equal };
        if our != their {
            let below = (ours.peek().is_some(), theirs.peek().is_some());
            return below.0.cmp(&below.1).then(our.cmp(&their));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_before_directories() {
        let mut paths = ["b/z", "a/b/c", "c", "a/c", "a-", "a/b/b"].map(PathBuf::from);
        paths.sort_by(|one, other| order(one, other));
        assert_eq!(paths, ["a-", "c", "a/c", "a/b/b", "a/b/c", "b/z"].map(PathBuf::from));
    }

    #[test]
    fn the_first_that_is_there_leads_or_else_the_last() {
        let inode = Some(Inode { device: 1, number: 1 });
        assert_eq!(leader([None, inode, inode].into_iter()), 1);
        assert_eq!(leader([inode, None].into_iter()), 0);
        assert_eq!(leader([None, None, None].into_iter()), 2);
    }
}
