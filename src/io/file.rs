//! A file that is open to be read, and how far its file system can be relied on.
//!
//! A file system in user space (FUSE) is somebody's program. Two things that hold for the kernel's own are not certain
//! there: that a hole is one, and that what came through io_uring is what was asked for. Where a program gives fewer
//! bytes than that, and its files are read past the page cache, Linux (6.18) itself goes on, but at the same place: the
//! start of the file comes twice, and nothing tells. `IOSQE_ASYNC` does not keep it from that: such files are read by plain
//! system calls.

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

/// The type of statfs(2) for all that is FUSE.
const FUSE_SUPER_MAGIC: u32 = 0x6573_5546;

/// One that does not even tell (a FUSE server without statfs) is not relied on.
fn ask(fd: &OwnedFd) -> Family {
    match rustix::fs::fstatfs(fd) {
        Ok(answer) if answer.f_type as u32 != FUSE_SUPER_MAGIC => Family::Kernel,
        _ => Family::Fuse,
    }
}
