//! The system calls that set owner, mode and times of an inode that is held.

use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid};

use crate::metadata::HeldInode;
use crate::stat::{Time, proc_path};

pub(super) fn set_owner(target: HeldInode<'_>, uid: Option<u32>, gid: Option<u32>) -> rustix::io::Result<()> {
    let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
    match target {
        HeldInode::Open(fd) => rustix::fs::fchown(fd, uid, gid),
        HeldInode::Handle(fd) => rustix::fs::chownat(fd, c"", uid, gid, AtFlags::EMPTY_PATH),
    }
}

pub(super) fn set_mode(target: HeldInode<'_>, mode: u32) -> rustix::io::Result<()> {
    let mode = Mode::from_raw_mode(mode);
    match target {
        HeldInode::Open(fd) => rustix::fs::fchmod(fd, mode),
        HeldInode::Handle(fd) => rustix::fs::chmodat(CWD, proc_path(fd), mode, AtFlags::empty()),
    }
}

/// Sets the modification time and leaves the access time alone.
pub(crate) fn set_mtime(target: HeldInode<'_>, modified: Time) -> rustix::io::Result<()> {
    set_times(target, Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, modified)
}

/// Sets both times to that of the modification, where one alone has no effect.
pub(super) fn set_both_times(target: HeldInode<'_>, modified: Time) -> rustix::io::Result<()> {
    set_times(target, timespec(modified), modified)
}

fn timespec(time: Time) -> Timespec {
    Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() }
}

fn set_times(target: HeldInode<'_>, accessed: Timespec, modified: Time) -> rustix::io::Result<()> {
    let times = Timestamps { last_access: accessed, last_modification: timespec(modified) };
    match target {
        HeldInode::Open(fd) => rustix::fs::futimens(fd, &times),
        HeldInode::Handle(fd) => rustix::fs::utimensat(CWD, proc_path(fd), &times, AtFlags::empty()),
    }
}
