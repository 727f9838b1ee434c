//! No copy on write (`FS_NOCOW_FL`, the C of chattr(1); ioctl_iflags(2)): the one of the flags of an inode that is kept.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{IFlags, Mode, OFlags};
use rustix::io::Errno;

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

/// What messages call it.
pub(crate) fn text(nocow: bool) -> &'static str {
    if nocow { "C (no copy on write)" } else { "no C (copy on write)" }
}
