//! What killed runs left: files under temporary names (io/temporary.rs), broken off copies that can be resumed, and
//! directories that were not done. It is removed when a run comes to its directory, and nothing else is.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, RawDir};

use crate::engine::Run;
use crate::engine::own::set_aside;
use crate::event::Kind;
use crate::io::list::{self, LIST};
use crate::io::temporary::{is_marked, is_partial, lock};
use crate::stat::{Inode, Stat, proc_path, stat_open};

/// What killed runs left in a directory that is no litter.
#[derive(Default)]
pub(crate) struct Kept {
    /// There is a copy that broke off, which a later run may resume.
    pub(crate) partial: bool,
    /// Names that hold what was replaced.
    pub(crate) set_aside: Vec<CString>,
    /// Another run is at work on something: if it is killed, that is litter.
    pub(crate) at_work: bool,
}

/// Removes what killed runs left in a directory; with `keep_partial` not what may be resumed. A name that `source` has
/// too is the source's, whatever it looks like. What can't be removed stays, and the next run tries again.
/// Returns what was kept.
pub(crate) fn remove(
    within: &OwnedFd,
    inode: Inode,
    source: Option<&OwnedFd>,
    keep_partial: bool,
    run: &Run,
) -> Kept {
    let mut kept = Kept::default();
    let is_wanted = |name: &CStr| {
        run.temporary.is_ours(name.to_bytes(), inode) || run.temporary.is_aside(name.to_bytes(), inode)
    };
    for (name, kind) in listing(within, is_wanted) {
        if source.is_some_and(|source| has(source, &name)) {
            continue;
        }
        if keep_partial && is_partial(name.to_bytes()) {
            kept.partial = true;
        } else if run.temporary.is_aside(name.to_bytes(), inode) {
            kept.at_work |= set_aside::is_abandoned(within, &name, inode, run) == Some(false);
            kept.set_aside.extend(set_aside::sweep(within, name));
        } else if is_abandoned(within, &name, kind) {
            remove_one(within, &name, kind, run);
        } else {
            kept.at_work = true;
        }
    }
    kept
}

/// Removes one name that nobody is at work on.
pub(crate) fn remove_one(within: &OwnedFd, name: &CStr, kind: Kind, run: &Run) {
    if kind == Kind::Directory {
        remove_directory(within, name, run);
    } else {
        rustix::fs::unlinkat(within, name, AtFlags::empty()).ok();
    }
}

/// Removes a directory that a run did not complete. The owner of `within` may have exchanged it for another directory,
/// so only one with our mark is emptied. Such a directory has no subdirectories but those that runs make for nodes:
/// with any other in it, it stays as it is. A directory without the mark is removed only if it is empty; the owner of
/// `within` could do that as well.
pub(crate) fn remove_directory(within: &OwnedFd, name: &CStr, run: &Run) {
    let Ok(directory) = rustix::fs::openat(within, name, LIST, Mode::empty()) else { return };
    if let Some(stat) = stat_open(&directory).ok().filter(is_marked) {
        let entries = listing(&directory, |_| true);
        let is_strange = |(name, kind): &(CString, Kind)| {
            *kind == Kind::Directory && !run.temporary.is_ours(name.to_bytes(), stat.inode)
        };
        if entries.iter().any(is_strange) {
            return;
        }
        for (entry, kind) in entries {
            remove_one(&directory, &entry, kind, run);
        }
    }
    rustix::fs::unlinkat(within, name, AtFlags::REMOVEDIR).ok();
}

/// Whether a directory has a name.
fn has(directory: &OwnedFd, name: &CStr) -> bool {
    rustix::fs::statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, Stat::FIELDS).is_ok()
}

/// Whether a directory has no entries, as far as can be told without trying to remove it.
pub(crate) fn is_empty(within: &OwnedFd, name: &CStr) -> rustix::io::Result<bool> {
    is_empty_open(&rustix::fs::openat(within, name, LIST, Mode::empty())?)
}

/// The same of one that was opened a moment ago, and is not to be listed by this descriptor.
pub(crate) fn is_empty_open(directory: &OwnedFd) -> rustix::io::Result<bool> {
    let mut bytes = [MaybeUninit::uninit(); 512];
    let mut entries = RawDir::new(directory, &mut bytes);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The wanted names in a directory, and their types; none where it can't be listed.
fn listing(directory: &OwnedFd, wanted: impl Fn(&CStr) -> bool) -> Vec<(CString, Kind)> {
    let entries = list::names(directory).into_iter().flatten().flatten();
    let names = entries.filter(|entry| wanted(entry.file_name())).map(|entry| entry.file_name().to_owned());
    let kind = |name: &CString| {
        let stat = rustix::fs::statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, Stat::FIELDS);
        stat.ok().map(|stat| Stat::from(&stat).kind)
    };
    names.filter_map(|name| kind(&name).map(|kind| (name, kind))).collect()
}

/// Whether no living run holds the lock. Only files and directories can be locked; all else has its temporary name for
/// microseconds. What is opened is what was looked at: opening a device would already do something to it.
pub(crate) fn is_abandoned(within: &OwnedFd, name: &CStr, kind: Kind) -> bool {
    if kind != Kind::File && kind != Kind::Directory {
        return true;
    }
    let hold = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(handle) = rustix::fs::openat(within, name, hold, Mode::empty()) else { return false };
    if !stat_open(&handle).is_ok_and(|stat| stat.kind == kind) {
        return false;
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::open(proc_path(&handle), flags, Mode::empty()).is_ok_and(|fd| lock(&fd))
}
