//! No copy on write (`FS_NOCOW_FL`, the C of chattr(1); ioctl_iflags(2)): the one of the flags of an inode that is kept; and those
//! that close it to changes, which explain a refusal.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, IFlags, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use crate::error::Frozen;

/// Whether a file has the flag. One whose file system has no such flags has not.
pub(crate) fn is_nocow(file: impl AsFd) -> bool {
    rustix::fs::ioctl_getflags(file).is_ok_and(|flags| flags.contains(IFlags::NOCOW))
}

/// Gives a directory the flag, or an empty file, or takes it. A file that has contents keeps what it has.
///
/// # Errors
/// When it can't have it; `OPNOTSUPP` where that had no effect.
pub(crate) fn set_nocow(file: impl AsFd, nocow: bool) -> rustix::io::Result<()> {
    let mut flags = match rustix::fs::ioctl_getflags(&file) {
        Err(_) if !nocow => return Ok(()), // it has none
        flags => flags?,
    };
    if flags.contains(IFlags::NOCOW) == nocow {
        return Ok(());
    }
    flags.set(IFlags::NOCOW, nocow);
    if nocow {
        flags.remove(IFlags::COMPRESSED); // from its directory; both can't be
    }
    rustix::fs::ioctl_setflags(&file, flags)?;
    if is_nocow(file) == nocow { Ok(()) } else { Err(Errno::OPNOTSUPP) }
}

/// A directory that may be held without being open, open to ask for its flags.
pub(crate) fn open_directory(directory: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(directory, c".", flags, Mode::empty())
}

/// How chattr(1) has closed an entry to changes, if it has.
pub(crate) fn frozen_at(within: impl AsFd, name: &CStr) -> Option<Frozen> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    let attributes = rustix::fs::statx(within, name, flags, StatxFlags::TYPE).ok()?.stx_attributes;
    let closed =
        [(StatxAttributes::IMMUTABLE, Frozen::Immutable), (StatxAttributes::APPEND, Frozen::AppendOnly)];
    closed.into_iter().find(|(flag, _)| attributes.contains(*flag)).map(|(_, how)| how)
}

/// What messages call it.
pub(crate) fn text(nocow: bool) -> &'static str {
    if nocow { "C (no copy on write)" } else { "no C (copy on write)" }
}
