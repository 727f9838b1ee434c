//! Directories that hold what was set aside: what a killed run left of them.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Mode};

use crate::engine::Run;
use crate::event::Kind;
use crate::io::list::{LIST, kind_of, names};
use crate::io::temporary::{is_marked, lock};
use crate::stat::{Inode, stat_open};

/// Whether a directory, open under this name in another one, holds what was set aside.
pub(crate) fn holds(name: &CStr, directory: &OwnedFd, within: Inode, run: &Run) -> bool {
    run.temporary.is_aside(name.to_bytes(), within) && is_marked_open(directory)
}

fn is_marked_open(directory: &OwnedFd) -> bool {
    stat_open(directory).is_ok_and(|stat| is_marked(&stat))
}

/// Removes a successor that a killed run did not get to put in its place, and what it lay in if nothing else does. Returns
/// the name, which is one for this, if it holds what was replaced.
pub(crate) fn sweep(within: &OwnedFd, name: CString) -> Option<CString> {
    let directory = rustix::fs::openat(within, &name, LIST, Mode::empty()).ok()?;
    let is_free = is_marked_open(&directory) && lock(&directory);
    (is_free && !clear(within, &name, &directory)).then_some(name)
}

/// Removes all but directories, and the directory itself if there are none. Returns whether that was all.
pub(crate) fn clear(within: &OwnedFd, name: &CStr, directory: &OwnedFd) -> bool {
    let mut is_all = true;
    for entry in names(directory).into_iter().flatten().flatten() {
        match kind_of(directory.as_fd(), &entry) {
            Kind::Directory => is_all = false,
            _ => drop(rustix::fs::unlinkat(directory, entry.file_name(), AtFlags::empty())),
        }
    }
    if is_all {
        rustix::fs::unlinkat(within, name, AtFlags::REMOVEDIR).ok();
    }
    is_all
}

/// Whether a name holds what was set aside, and nobody is at work on it. `None`: it is no such name.
pub(crate) fn is_abandoned(within: &OwnedFd, name: &CStr, inode: Inode, run: &Run) -> Option<bool> {
    if !run.temporary.is_aside(name.to_bytes(), inode) {
        return None;
    }
    let directory = rustix::fs::openat(within, name, LIST, Mode::empty()).ok()?;
    is_marked_open(&directory).then(|| lock(&directory))
}
