//! In what an entry that the destination lacks differs from what the earlier trees have under its path. As in rsync that is the
//! first of them that has the same, or else the same contents, or else an entry of its type.

use std::os::fd::OwnedFd;

use crate::engine::entry::earlier::{decide_held, hold, link};
use crate::engine::entry::item::{Item, SourceEntry};
use crate::engine::state::references::Tree;
use crate::error::Result;
use crate::event::{Changes, Kind};
use crate::metadata::xattr;
use crate::plan::compare::changes;
use crate::stat::{Inode, Stat};

/// How much of an entry an earlier tree has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Likeness {
    Type,
    Contents,
    All,
}

/// In what a new entry differs from the best of the earlier trees'. `None`: none has one of its type.
pub(crate) async fn differs(item: &Item<'_>, source: &SourceEntry) -> Result<Option<Changes>> {
    let mut best = None;
    for tree in &item.run().references.trees {
        let Some((handle, have)) = hold(item, tree) else { continue };
        if have.kind != source.stat.kind {
            continue;
        }
        let found = compare(item, source, tree, (&handle, &have)).await?;
        if best.is_none_or(|(likeness, _)| found.0 > likeness) {
            best = Some(found);
        }
        if found.0 == Likeness::All {
            break;
        }
    }
    Ok(best.map(|(_, changes)| changes))
}

async fn compare(
    item: &Item<'_>,
    source: &SourceEntry,
    tree: &Tree,
    (handle, have): (&OwnedFd, &Stat),
) -> Result<(Likeness, Changes)> {
    let run = item.run();
    let is_alike = decide_held(item, source, (handle, have)).await?.is_some();
    let mut changes = Changes { contents: false, ..changes(&source.stat, Some(have), &run.rules) };
    if run.rules.keep.xattrs
        && let Ok(want) = item.source_xattrs(&source.stat, source.file.as_ref())
        && let Ok(found) = link::xattrs(item, &tree.fd, handle, have)
    {
        let Changes { acl, xattrs, .. } = xattr::changes(&want, &found);
        changes = Changes { acl, xattrs, ..changes };
    }
    let likeness = match is_alike {
        true if changes.is_empty() => Likeness::All,
        true => Likeness::Contents,
        false => Likeness::Type,
    };
    // What is made is made anew: a symlink of the same target too.
    changes.contents = match source.stat.kind {
        Kind::File => likeness == Likeness::Type && run.rules.compares_contents(),
        _ => likeness != Likeness::All,
    };
    Ok((likeness, changes))
}

/// Whether an earlier tree has this inode under the item's path.
pub(crate) fn has_inode(item: &Item<'_>, inode: Inode) -> bool {
    let trees = &item.run().references.trees;
    trees.iter().any(|tree| hold(item, tree).is_some_and(|(_, have)| have.inode == inode))
}
