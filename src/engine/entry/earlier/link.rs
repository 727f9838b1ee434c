//! What an earlier tree has in the same state, with all metadata that are kept, gets one more name.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::engine::entry::earlier::{decide_held, hold, holds_the_same, is_doubtful};
use crate::engine::entry::flags::{self, Found};
use crate::engine::entry::item::{Item, SourceEntry};
use crate::engine::entry::keep_old;
use crate::engine::own::trial;
use crate::engine::own::writable::writable;
use crate::engine::run::flushed::flush_file;
use crate::engine::state::copied::Copied;
use crate::engine::state::references::Tree;
use crate::error::{Context, Error, Operation, Result};
use crate::event::{Action, Event, Kind, Notice, Reused};
use crate::io::path::open_directory;
use crate::io::rename::{Taken, link_nameless, take_place};
use crate::metadata::xattr::{self, Holder};
use crate::metadata::{HeldInode, Wanted, is_refusal};
use crate::options::Reuse;
use crate::plan::compare::Decision;
use crate::stat::{Stat, proc_path};

/// As many names as an inode may have where that is little: on ext4 (`EXT4_LINK_MAX` of the kernel's ext4.h). Where there may be
/// more a copy in some ten thousand costs little.
const MOST_NAMES: u32 = 65_000;

/// Makes the item's name one more name of what an earlier tree has. `None`: none has the same, or it can't be linked to.
pub(crate) async fn link(item: &Item<'_>, source: &SourceEntry, taken: Taken) -> Result<Option<Copied>> {
    let run = item.run();
    if item.pair.file_system.refuses_links().is_some() {
        return Ok(None);
    }
    for reference in &run.references.trees {
        let Some(Exact { handle, have, lacks }) = find_exact(item, source, reference).await? else {
            continue;
        };
        if run.config.reuse == Reuse::Relink && item.old.is_some_and(|old| old.inode == have.inode) {
            return Ok(None); // it is that file
        }
        // Names that are apart in the source must not become one file.
        let may_share = || run.links.may_share(have.inode, item.identity(&source.stat));
        if have.links > 1 && run.rules.keep.hard_links && !may_share() {
            continue;
        }
        // Names that are one file in the source stay one: all of them go to a new inode if they don't fit on this one.
        if run.rules.keep.hard_links && source.stat.links.saturating_add(have.links) > MOST_NAMES {
            continue;
        }
        let bytes = if have.kind == Kind::File { have.size } else { 0 };
        let reused = Some(Reused { tree: reference.number, bytes, as_it_is: true });
        let linked = Copied { action: Action::Linked, reused, ..Copied::skipped() }.lacking(lacks);
        if !run.config.writes() || give_name(item, &handle, &have, taken).await? {
            return Ok(Some(linked));
        }
    }
    Ok(None)
}

/// What an earlier tree has under the item's path, where that is the same with all metadata that are kept.
pub(super) struct Exact {
    handle: OwnedFd,
    have: Stat,
    /// What it lacks, as a copy would.
    lacks: Vec<Error>,
}

/// Looks for it in one of them.
pub(super) async fn find_exact(
    item: &Item<'_>,
    source: &SourceEntry,
    reference: &Tree,
) -> Result<Option<Exact>> {
    item.lane.doing(Operation::OpenDestination);
    let Some((handle, have)) = hold(item, reference) else { return Ok(None) };
    let same = is_same(item, source, &reference.fd, (&handle, &have)).await?;
    let Some(mut lacks) = same else { return Ok(None) };
    match flags::compare_held(item, source, &handle).await? {
        Found::Same => {}
        Found::Other => return Ok(None),
        Found::Lacks(error) => lacks.push(error),
    }
    if is_doubtful(item, reference, &have) && !holds_the_same(item, source, &handle, &have).await? {
        return Ok(None);
    }
    Ok(Some(Exact { handle, have, lacks }))
}

impl Exact {
    pub(super) fn size(&self) -> u64 {
        if self.have.kind == Kind::File { self.have.size } else { 0 }
    }
}

/// Whether an entry of an earlier tree has all metadata of the source's that are kept, or as much of them as a copy would get.
/// Returns what it lacks then. One that can't be read is not the same.
async fn is_same(
    item: &Item<'_>,
    source: &SourceEntry,
    tree: &OwnedFd,
    (handle, have): (&OwnedFd, &Stat),
) -> Result<Option<Vec<Error>>> {
    let rules = &item.run().rules;
    let Some(decision) = decide_held(item, source, (handle, have)).await? else { return Ok(None) };
    let same_stat = match decision {
        Decision::Keep(difference) => difference.is_empty(),
        _ => false,
    };
    let wanted = match rules.keep.xattrs {
        true => Some(item.source_xattrs(&source.stat, source.file.as_ref())?),
        false => None,
    };
    let found = match wanted {
        Some(_) => xattrs(item, tree, handle, have).map(Some),
        None => Ok(Some(xattr::Xattrs::new())),
    };
    let found = match found {
        // A copy may not show them either.
        Err(error) if error.errno().is_some_and(is_refusal) => None,
        Err(_) => return Ok(None),
        Ok(found) => found,
    };
    let is_same = |wanted| found.as_ref().is_some_and(|found| xattr::changes(wanted, found).is_empty());
    let same_xattrs = wanted.as_ref().is_none_or(is_same);
    if same_stat && same_xattrs {
        return Ok(Some(wanted.map_or_else(Vec::new, |wanted| wanted.lacks())));
    }
    let wanted = Wanted { stat: &source.stat, xattrs: wanted.as_ref() };
    trial::is_as_a_copy(item.place(), wanted, (have, found.as_ref()))
}

pub(super) fn xattrs(
    item: &Item<'_>,
    tree: &OwnedFd,
    handle: &OwnedFd,
    have: &Stat,
) -> Result<xattr::Xattrs> {
    let reach = item.run().rules.privileges.namespaces;
    if have.kind != Kind::Symlink {
        return xattr::read(&HeldInode::Handle(handle.as_fd()).into(), reach, || item.path());
    }
    // A symlink's own attributes are read by its name.
    let directory = item.directory.path();
    let within = open_directory(tree, directory.as_os_str().as_bytes());
    let within = within.at(Operation::UseReference, || item.path())?;
    xattr::read(&Holder::Name(within.as_fd(), item.target()), reach, || item.path())
}

/// Gives an inode the item's name. Returns whether it could be done.
async fn give_name(item: &Item<'_>, handle: &OwnedFd, have: &Stat, taken: Taken) -> Result<bool> {
    let within = item.changing()?;
    if item.run().config.fsync && have.kind == Kind::File {
        item.lane.doing(Operation::Flush);
        let file = rustix::fs::open(proc_path(handle), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let file = Arc::new(file.at(Operation::OpenDestination, || item.path())?);
        flush_file(&file, item.lane, || item.path()).await?;
    }
    item.lane.doing(Operation::Link);
    let link_to = |name: &CStr| writable(within, item.run(), || link_nameless(handle, within, name));
    let linked = match taken {
        Taken::Nothing => link_to(item.target()),
        _ => Err(Errno::EXIST),
    };
    let linked = match linked {
        Err(Errno::EXIST) => {
            let temporary = item.run().temporary.new_name(within).at(Operation::Link, || item.path())?;
            let mut linked = link_to(&temporary);
            if linked.is_ok() && taken == Taken::Entry && item.run().backups.is_some() {
                // As in hard_link.rs: a backup is made once it is known that there can be a link.
                let removed = rustix::fs::unlinkat(within, &temporary, AtFlags::empty());
                removed.at(Operation::Link, || item.path())?;
                keep_old::keep(item).await?;
                linked = link_to(&temporary);
            }
            if linked.is_ok() {
                let placed = take_place((within, &temporary), (within, item.target()), taken);
                placed.at(Operation::Rename, || item.path())?;
                // rename(2) does nothing where both names are the same inode already.
                rustix::fs::unlinkat(within, &temporary, AtFlags::empty()).ok();
            }
            linked
        }
        linked => linked,
    };
    match linked {
        Ok(()) => Ok(true),
        // Another file system, all the names an inode can have, or one that was removed meanwhile: a copy has to do.
        Err(Errno::XDEV | Errno::MLINK | Errno::NOENT | Errno::STALE) => Ok(false),
        Err(errno) if item.pair.file_system.is_link_refusal(errno) => {
            refused(item, errno, have).await;
            Ok(false)
        }
        Err(errno) => Err(errno).at(Operation::Link, || item.path()),
    }
}

/// Tells, once for each file system, that it has no links. Of somebody else's file there may be none alone
/// (proc_sys_fs(5), protected_hardlinks), and which directories may be changed is no matter of the file system.
async fn refused(item: &Item<'_>, errno: Errno, have: &Stat) {
    let file_system = &item.pair.file_system;
    let user = item.run().rules.privileges.user;
    if errno == Errno::ACCESS || errno == Errno::PERM && have.uid != user {
        return;
    }
    file_system.mark_refuses_links(errno);
    if file_system.tells_unlinked() {
        let notice = Notice::NoLinks { path: item.path(), why: errno.into() };
        item.run().report(Event::Notice(notice)).await;
    }
}
