//! `--link-dest`, `--copy-dest`, `--compare-dest`: trees of earlier runs. What is the same there is not copied from the source: it
//! becomes one more name of it (link.rs), a clone or a copy of it (clone.rs), or is left out (leave.rs).

pub(crate) mod clone;
pub(crate) mod differs;
mod leave;
mod link;

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{Mode, OFlags};

use crate::engine::entry::earlier::clone::Base;
use crate::engine::entry::item::{Item, SourceEntry};
use crate::engine::entry::{contents, special};
use crate::engine::state::copied::Copied;
use crate::engine::state::references::Tree;
use crate::error::{Error, Operation, Result};
use crate::event::Kind;
use crate::io::path::{open_directory, open_entry};
use crate::io::rename::Taken;
use crate::options::Reuse;
use crate::plan::compare::{Decision, decide, keep};
use crate::plan::writers::Writers;
use crate::stat::{Stat, proc_path, stat_open};

/// What the earlier trees have of an entry.
pub(crate) enum Earlier {
    /// It is done: it has its name now, or is left out.
    Done(Copied),
    /// The new file is to have the contents of this one.
    Base(Base),
}

/// Takes of the earlier trees what there is of an entry. `None`: it is to be copied.
pub(crate) async fn reuse(item: &Item<'_>, source: &SourceEntry, taken: Taken) -> Result<Option<Earlier>> {
    let reuse = item.run().config.reuse;
    let done = match reuse {
        Reuse::Link | Reuse::Relink => link::link(item, source, taken).await?,
        Reuse::Compare => leave::leave(item, source, taken).await?,
        Reuse::Clone | Reuse::Copy => None,
    };
    let takes_contents = reuse == Reuse::Clone || reuse.copies() && taken == Taken::Nothing;
    match done {
        Some(done) => Ok(Some(Earlier::Done(done))),
        None if takes_contents => Ok(clone::find(item, source).await?.map(Earlier::Base)),
        None => Ok(None),
    }
}

/// Leaves out one of several names of an inode, if an earlier tree has the same under it: `--compare-dest`.
pub(crate) async fn leave_name(
    item: &Item<'_>,
    source: &SourceEntry,
    destination: Option<&Stat>,
) -> Result<Option<Copied>> {
    match destination.map(|have| have.kind) {
        None => leave::leave(item, source, Taken::Nothing).await,
        Some(kind) if kind == Kind::File && source.stat.kind == Kind::File => {
            leave::leave(item, source, Taken::Entry).await
        }
        Some(_) => Ok(None),
    }
}

/// What an earlier tree has under the item's path, held.
fn hold(item: &Item<'_>, tree: &Tree) -> Option<(OwnedFd, Stat)> {
    let path = item.directory.path_of(item.target());
    let handle = open_entry(&tree.fd, path.as_os_str().as_bytes()).ok()?;
    let have = stat_open(&handle).ok()?;
    Some((handle, have))
}

/// What a comparison with an earlier tree's entry says, if that holds what the source does: `Keep` or `Renew`.
async fn decide_held(
    item: &Item<'_>,
    source: &SourceEntry,
    (handle, have): (&OwnedFd, &Stat),
) -> Result<Option<Decision>> {
    let rules = &item.run().rules;
    let same_target = || {
        let target = rustix::fs::readlinkat(handle, c"", Vec::with_capacity(256));
        special::source_target(item).ok().is_some_and(|wanted| Ok(wanted) == target)
    };
    let mut decision = decide(&source.stat, Some(have), rules, same_target);
    if decision == Decision::Replace {
        decision = item.judge_time(&source.stat, have)?;
    }
    if decision == Decision::CompareContents {
        let Ok(file) = rustix::fs::open(proc_path(handle), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        else {
            return Ok(None);
        };
        match contents::equals(item, source, file).await {
            Ok(true) => {}
            // What of it can't be read is not the same.
            Ok(false) | Err(Error { operation: Operation::ReadDestination, .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
        decision = keep(&source.stat, have, rules);
    }
    Ok(matches!(decision, Decision::Keep(_) | Decision::Renew).then_some(decision))
}

/// Whether an earlier tree's file may not be what its stat says, so that only its contents tell: a crash may have taken them, or
/// another user could have put it there, and it may be a secret that only the directories on the way keep.
fn is_doubtful(item: &Item<'_>, tree: &Tree, have: &Stat) -> bool {
    let writers = || writers_above(&tree.fd, item);
    tree.is_doubted || item.pair.reference_writers(tree.number, writers).could_plant(have)
}

/// Who else could have put what an earlier tree has in the item's directory.
fn writers_above(tree: &OwnedFd, item: &Item<'_>) -> Writers {
    let user = item.run().rules.privileges.user;
    let of = |fd: &OwnedFd| stat_open(fd).map_or(Writers::Many, |stat| Writers::of(&stat, user));
    let mut writers = of(tree);
    let mut within: Option<OwnedFd> = None;
    for component in item.directory.path().components() {
        let above = within.as_ref().unwrap_or(tree);
        let Ok(directory) = open_directory(above, component.as_os_str().as_bytes()) else {
            return writers.below(Writers::Many);
        };
        writers = writers.below(of(&directory));
        within = Some(directory);
    }
    writers
}

/// Whether a file of an earlier tree holds what the source does. What has no contents gives nothing away.
async fn holds_the_same(
    item: &Item<'_>,
    source: &SourceEntry,
    handle: &OwnedFd,
    have: &Stat,
) -> Result<bool> {
    if have.kind != Kind::File {
        return Ok(have.kind == Kind::Symlink);
    }
    let opened = rustix::fs::open(proc_path(handle), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let Ok(file) = opened else { return Ok(false) };
    match contents::equals(item, source, file).await {
        Err(Error { operation: Operation::ReadDestination, .. }) => Ok(false),
        compared => compared,
    }
}
