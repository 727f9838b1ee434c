//! New directories of a run's own. They are made with our mark (io/temporary.rs), and opened again by their name: the
//! owner of the directory around could have exchanged them in between for one that they own, or for one that they may
//! not enter and would be given. What was opened is used only if it is empty, and belongs to whom our new files belong
//! to.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::engine::Run;
use crate::engine::own::litter::is_empty_open;
use crate::engine::own::writable::writable;
use crate::io::temporary::{MARKED, is_marked, lock};
use crate::stat::{Stat, stat_open};

/// Makes a directory for the user alone, opens and locks it.
///
/// # Errors
/// `ESTALE` where another one has its name.
pub(crate) fn make(within: &OwnedFd, name: &CStr, run: &Run) -> rustix::io::Result<OwnedFd> {
    writable(within, run, || rustix::fs::mkdirat(within, name, MARKED))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(within, name, flags, Mode::empty())?;
    lock(&made);
    require(within, &made, &stat_open(&made)?, run)?;
    Ok(made)
}

/// Requires that a directory which was made a moment ago, and has this stat, is our own.
///
/// # Errors
/// `ESTALE` where it is another one.
pub(crate) fn require(within: &OwnedFd, made: &OwnedFd, stat: &Stat, run: &Run) -> rustix::io::Result<()> {
    let is_own = is_marked(stat) || owner_of_new(within, run)? == stat.uid;
    if is_own && is_empty_open(made)? { Ok(()) } else { Err(Errno::STALE) }
}

/// Whose a new file is: where modes are not kept, or root is taken for nobody (exports(5), root_squash), only this tells.
pub(crate) fn owner_of_new(within: &OwnedFd, run: &Run) -> rustix::io::Result<u32> {
    let name = run.temporary.new_name(within)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(within, &name, flags, Mode::RUSR | Mode::WUSR)?;
    // Another run may have taken it for litter, which nothing locks.
    match rustix::fs::unlinkat(within, &name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(stat_open(&file)?.uid),
        Err(errno) => Err(errno),
    }
}
