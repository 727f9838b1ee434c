//! Subvolumes of btrfs: directories with a device number of their own that are parts of one file system. They are no mounts.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, StatxFlags};

use crate::io::op;
use crate::stat::{Inode, is_mount_point};

/// The type that statfs(2) has for btrfs (linux/magic.h).
const BTRFS_SUPER_MAGIC: u32 = 0x9123_683e;
/// The inode number of the directory at the top of each subvolume (`BTRFS_FIRST_FREE_OBJECTID`).
const TOP: u64 = 256;

/// A subvolume's name for all times.
pub(crate) type Uuid = [u8; 16];
/// That of nothing.
const NONE: Uuid = [0; 16];

/// What btrfs tells of a subvolume.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subvolume {
    /// Its number: a snapshot's is greater than that of what it was taken of.
    pub(crate) id: u64,
    pub(crate) uuid: Uuid,
    /// That of which it is a snapshot, if it is one.
    pub(crate) parent: Option<Uuid>,
    /// What it was on the machine that it was received from, if it was.
    pub(crate) received: Option<Uuid>,
}

/// Whether a directory is the top of a subvolume that lies in the one above it, not of one that is mounted there.
pub(crate) fn is_subvolume(directory: &OwnedFd, inode: Inode) -> bool {
    inode.number == TOP && is_btrfs(directory) && !is_mount_point(directory, c"")
}

/// Whether a file lies on btrfs.
pub(crate) fn is_btrfs(file: impl AsFd) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|answer| answer.f_type as u32 == BTRFS_SUPER_MAGIC)
}

impl Subvolume {
    /// The one that a file lies in, which must be open, not only held.
    pub(crate) fn of(file: impl AsFd) -> rustix::io::Result<Self> {
        let info = op::subvolume_info(file.as_fd())?;
        let told = |uuid: Uuid| Some(uuid).filter(|uuid| *uuid != NONE);
        let (parent, received) = (told(info.parent), told(info.received));
        Ok(Subvolume { id: info.id, uuid: info.uuid, parent, received })
    }
}

/// Whether a name in a directory, or that itself, lies in the mount of btrfs that another directory lies in: then nothing but
/// subvolumes is between them.
pub(crate) fn is_in_one_mount(directory: &OwnedFd, (within, name): (&OwnedFd, &CStr)) -> bool {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
    let mount = |directory: &OwnedFd, name: &CStr| {
        let found = rustix::fs::statx(directory, name, flags, StatxFlags::MNT_ID).ok()?;
        (found.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(found.stx_mnt_id)
    };
    let one = mount(directory, c"");
    one.is_some() && one == mount(within, name) && is_btrfs(directory)
}
