//! Renames: to a name that is free, of two names with each other (renameat2(2)), and to a name that something has.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, RenameFlags, StatxFlags};
use rustix::io::Errno;

use crate::stat::proc_path;

/// Renames to a name that nothing has; `EXIST`: something has it.
pub(crate) fn rename_free(from: &OwnedFd, old: &CStr, to: &OwnedFd, new: &CStr) -> rustix::io::Result<()> {
    match rustix::fs::renameat_with(from, old, to, new, RenameFlags::NOREPLACE) {
        // The file system does not know the flag, or the kernel not the call, or a sandbox refuses what it does not know.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS) => {}
        renamed => return renamed,
    }
    match rustix::fs::linkat(from, old, to, new, AtFlags::empty()) {
        Ok(()) => return rustix::fs::unlinkat(from, old, AtFlags::empty()),
        Err(Errno::EXIST) => return Err(Errno::EXIST),
        Err(_) => {} // it has no hard links either
    }
    match rustix::fs::statx(to, new, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE) {
        Err(Errno::NOENT) => rustix::fs::renameat(from, old, to, new),
        Err(errno) => Err(errno),
        Ok(_) => Err(Errno::EXIST),
    }
}

/// Exchanges two names: at every instant both are there.
pub(crate) fn exchange(from: &OwnedFd, one: &CStr, to: &OwnedFd, other: &CStr) -> rustix::io::Result<()> {
    rustix::fs::renameat_with(from, one, to, other, RenameFlags::EXCHANGE)
}

/// Gives a new name to what is to take the place of something else, and removes that: at every instant one of them has the
/// name, if the two can be exchanged. `flags` say what is removed (unlinkat(2)). If it can't be, it gets its name back.
pub(crate) fn replace(
    (home, new): (&OwnedFd, &CStr),
    (within, name): (&OwnedFd, &CStr),
    flags: AtFlags,
) -> rustix::io::Result<()> {
    match exchange(home, new, within, name) {
        Ok(()) => rustix::fs::unlinkat(home, new, flags).inspect_err(|_| {
            exchange(home, new, within, name).ok();
        }),
        Err(errno) if lacks_exchange(errno) => rustix::fs::unlinkat(within, name, flags)
            .and_then(|()| rustix::fs::renameat(home, new, within, name)),
        refused => refused,
    }
}

/// Whether an exchange may be refused where two renames are not: the file system or the kernel does not know it, a sandbox
/// forbids it, or an overlay can't do it with what lies in its lower layer.
pub(crate) fn lacks_exchange(errno: Errno) -> bool {
    matches!(errno, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM | Errno::XDEV)
}

/// What has the name that a new entry is to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    Nothing,
    /// Anything that rename(2) replaces.
    Entry,
    /// A directory, to be removed at the last moment, when its successor is there.
    EmptyDirectory,
}

/// Renames a temporary name to the one it is for; each is a name in a directory.
pub(crate) fn take_place(
    (home, temporary): (&OwnedFd, &CStr),
    (within, name): (&OwnedFd, &CStr),
    taken: Taken,
) -> rustix::io::Result<()> {
    let renamed = match taken {
        Taken::EmptyDirectory => replace((home, temporary), (within, name), AtFlags::REMOVEDIR),
        _ => rustix::fs::renameat(home, temporary, within, name),
    };
    if renamed.is_err() {
        rustix::fs::unlinkat(home, temporary, AtFlags::empty()).ok();
    }
    renamed
}

/// Links a nameless file: by its descriptor, or through /proc where that takes a privilege (open(2), `O_TMPFILE`).
pub(crate) fn link_nameless(fd: impl AsFd + Copy, within: &OwnedFd, name: &CStr) -> rustix::io::Result<()> {
    static BY_DESCRIPTOR: AtomicBool = AtomicBool::new(true);
    if BY_DESCRIPTOR.load(Ordering::Relaxed) {
        match rustix::fs::linkat(fd, c"", within, name, AtFlags::EMPTY_PATH) {
            Err(Errno::NOENT | Errno::PERM | Errno::INVAL) => BY_DESCRIPTOR.store(false, Ordering::Relaxed),
            other => return other,
        }
    }
    rustix::fs::linkat(CWD, proc_path(fd), within, name, AtFlags::SYMLINK_FOLLOW)
}
