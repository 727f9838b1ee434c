//! A new file that is a clone of what an earlier tree has: all of it where the contents are the same, and else what of a
//! large file has not changed. The rest of it, its metadata among it, comes about as with any copy.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use crate::engine::entry::earlier::{decide_held, holds_the_same, is_doubtful};
use crate::engine::entry::item::{Item, SourceEntry};
use crate::engine::entry::large_file::LARGE_FILE;
use crate::error::Result;
use crate::event::{Kind, Reused};
use crate::io::path::open_entry;
use crate::plan::compare::{Decision, gives_more};
use crate::stat::{Stat, proc_path, stat_open};

/// A file to be cloned.
pub(crate) struct Base {
    pub(crate) file: Arc<OwnedFd>,
    /// The earlier tree's number.
    tree: usize,
    pub(crate) size: u64,
    /// The state of the source whose contents it has; `None`, if it has others.
    same_as: Option<Stat>,
}

/// Looks for a file of the item's path in the earlier trees: one with the same contents, or, of a large one, the first.
pub(crate) async fn find(item: &Item<'_>, source: &SourceEntry) -> Result<Option<Base>> {
    if source.stat.kind != Kind::File || source.stat.size == 0 {
        return Ok(None);
    }
    let mut other = None;
    for tree in &item.run().references.trees {
        let path = item.directory.path_of(item.target());
        let Ok(handle) = open_entry(&tree.fd, path.as_os_str().as_bytes()) else { continue };
        let Ok(have) = stat_open(&handle) else { continue };
        if have.kind != Kind::File || have.size == 0 {
            continue;
        }
        let is_same = match decide_held(item, source, (&handle, &have)).await? {
            // Nobody's file gets another's contents, to be read by others, for having its size and time.
            Some(Decision::Keep(difference))
                if !gives_more(&difference, &have) && !is_doubtful(item, tree, &have) =>
            {
                true
            }
            Some(_) => holds_the_same(item, source, &handle, &have).await?,
            None => false,
        };
        if !is_same && (source.stat.size <= LARGE_FILE || other.is_some()) {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::open(proc_path(&handle), flags, Mode::empty()) else { continue };
        let same_as = is_same.then_some(source.stat);
        let base = Base { file: Arc::new(file), tree: tree.number, size: have.size, same_as };
        match is_same {
            true => return Ok(Some(base)),
            false => other = Some(base),
        }
    }
    Ok(other)
}

impl Base {
    /// Whether it has the contents that the source has in this state.
    pub(crate) fn has_all(&self, source: &Stat) -> bool {
        let is_state = |judged: &Stat| judged.size == source.size && !judged.differs_in_time(source);
        self.same_as.as_ref().is_some_and(is_state)
    }

    /// What is reported of `bytes` that are shared with it.
    pub(crate) fn reused(&self, bytes: u64) -> Reused {
        Reused { tree: self.tree, bytes }
    }
}
