//! A new file whose contents come from an earlier tree's: as a clone or, where that is wanted, a copy of all of it where they are
//! the same, and else as a clone of what of a large file has not changed. The rest of it, its metadata among it, comes about
//! as with any copy.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags};

use crate::engine::entry::earlier::{decide_held, hold, holds_the_same, is_doubtful};
use crate::engine::entry::item::{Item, SourceEntry};
use crate::engine::entry::large_file::LARGE_FILE;
use crate::error::Result;
use crate::event::{Kind, Reused};
use crate::io::file::File;
use crate::plan::compare::{Decision, gives_more};
use crate::stat::{Stat, proc_path, stat_open};

/// A file whose contents are used again.
pub(crate) struct Base {
    pub(crate) file: Arc<OwnedFd>,
    /// The earlier tree's number.
    tree: usize,
    stat: Stat,
    /// The state of the source whose contents it has; `None`, if it has others.
    same_as: Option<Stat>,
    /// To copy it from, where it can't be cloned.
    read: Option<File>,
    /// It could not be read, or changed meanwhile: the source has to do.
    is_spoiled: AtomicBool,
}

/// Looks for a file of the item's path in the earlier trees: the first one that has the same, or else the same contents, or, of
/// a large one, the first.
pub(crate) async fn find(item: &Item<'_>, source: &SourceEntry) -> Result<Option<Base>> {
    if source.stat.kind != Kind::File {
        return Ok(None);
    }
    let copies = item.run().config.reuse.copies();
    if source.stat.size == 0 && !copies {
        return Ok(None);
    }
    let (mut alike, mut other) = (None, None);
    for tree in &item.run().references.trees {
        let Some((handle, have)) = hold(item, tree) else { continue };
        if have.kind != Kind::File || have.size == 0 && !copies {
            continue;
        }
        let decision = decide_held(item, source, (&handle, &have)).await?;
        let has_all = matches!(decision, Some(Decision::Keep(difference)) if difference.is_empty());
        let is_same = match decision {
            // Nobody's file gets another's contents, to be read by others, for having its size and time.
            Some(Decision::Keep(difference))
                if !gives_more(&difference, &have) && !is_doubtful(item, tree, &have) =>
            {
                true
            }
            Some(_) => holds_the_same(item, source, &handle, &have).await?,
            None => false,
        };
        let is_better = match is_same {
            true => has_all || alike.is_none(),
            false => source.stat.size > LARGE_FILE && other.is_none(),
        };
        if !is_better {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::open(proc_path(&handle), flags, Mode::empty()) else { continue };
        let (file, same_as) = (Arc::new(file), is_same.then_some(source.stat));
        let read = (copies && is_same).then(|| item.lane.io.file(file.clone(), &have));
        let is_spoiled = AtomicBool::new(false);
        let base = Base { file, tree: tree.number, stat: have, same_as, read, is_spoiled };
        match is_same {
            true if has_all => return Ok(Some(base)),
            true => alike = Some(base),
            false => other = Some(base),
        }
    }
    Ok(alike.or(other))
}

impl Base {
    /// Whether it has the contents that the source has in this state.
    pub(crate) fn has_all(&self, source: &Stat) -> bool {
        let is_state = |judged: &Stat| judged.size == source.size && !judged.differs_in_time(source);
        self.same_as.as_ref().is_some_and(is_state) && !self.is_spoiled.load(Ordering::Relaxed)
    }

    pub(crate) fn size(&self) -> u64 {
        self.stat.size
    }

    /// What to read in place of the source, and its stat.
    pub(crate) fn to_read(&self) -> Option<(&File, &Stat)> {
        Some((self.read.as_ref()?, &self.stat))
    }

    /// Whether it is what it was when it was found. One that is not is not used again.
    pub(crate) fn is_steady(&self) -> bool {
        let now = stat_open(&self.file);
        let is_steady = now.is_ok_and(|now| now.size == self.stat.size && !now.differs_in_time(&self.stat));
        self.is_spoiled.fetch_or(!is_steady, Ordering::Relaxed);
        is_steady
    }

    /// It is not to be used again.
    pub(crate) fn spoil(&self) {
        self.is_spoiled.store(true, Ordering::Relaxed);
    }

    /// What is reported of `bytes` that are shared with it, or come from it.
    pub(crate) fn reused(&self, bytes: u64, as_it_is: bool) -> Reused {
        Reused { tree: self.tree, bytes, as_it_is }
    }
}
