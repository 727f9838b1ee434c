//! A file that is open to be read, and how far its file system can be relied on.
//!
//! A file system in user space (FUSE) is somebody's program. Two things that hold for the kernel's own are not certain
//! there: that a hole is one, and that what came through io_uring is what was asked for. Where a program gives fewer
//! bytes than that, and its files are read past the page cache, Linux (6.18) itself goes on, but at the same place: the
//! start of the file comes twice, and nothing tells. `IOSQE_ASYNC` does not keep it from that: such files are read by plain
//! system calls. So are those of an overlay, which passes on what lies below it, and does not say what that is.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::plan::entry::Stat;

/// Who answers for a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// The kernel.
    Kernel,
    /// The kernel, and all of it lies in memory: tmpfs, ramfs.
    Memory,
    /// Another file system, whichever it is: overlayfs.
    Overlay,
    /// A program: FUSE, virtiofs among it.
    Fuse,
}

/// An open file. It can be read only by whoever has asked on what it lies.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) fd: Arc<OwnedFd>,
    pub(crate) family: Family,
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The devices that files were met on. Each is asked once a thread: a mount, or a subvolume of btrfs.
#[derive(Default)]
pub(crate) struct Families(RefCell<HashMap<u64, Family>>);

impl Families {
    /// That of the file with this stat.
    pub(super) fn of(&self, fd: &OwnedFd, stat: &Stat) -> Family {
        *self.0.borrow_mut().entry(stat.inode.device).or_insert_with(|| ask(fd))
    }
}

/// The types that statfs(2) has (linux/magic.h) for all that is FUSE, and for overlays.
const FUSE_SUPER_MAGIC: u32 = 0x6573_5546;
const OVERLAYFS_SUPER_MAGIC: u32 = 0x794c_7630;
/// And for those that keep files in the page cache alone.
const TMPFS_MAGIC: u32 = 0x0102_1994;
const RAMFS_MAGIC: u32 = 0x8584_58f6;

impl Family {
    /// That of an open file, which is asked each time.
    pub(crate) fn of(fd: &OwnedFd) -> Self {
        ask(fd)
    }
}

/// One that does not even tell (a FUSE server without statfs) is not relied on.
fn ask(fd: &OwnedFd) -> Family {
    match rustix::fs::fstatfs(fd).map(|answer| answer.f_type as u32) {
        Ok(FUSE_SUPER_MAGIC) | Err(_) => Family::Fuse,
        Ok(OVERLAYFS_SUPER_MAGIC) => Family::Overlay,
        Ok(TMPFS_MAGIC | RAMFS_MAGIC) => Family::Memory,
        Ok(_) => Family::Kernel,
    }
}
