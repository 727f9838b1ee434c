//! How much room there is, and how much there would be if trees went. A file takes room until its last name goes, so that of
//! what snapshots share only that counts of which all names lie in those that go.

use std::collections::HashMap;
use std::path::Path;

use rustix::io::Errno;

use crate::error::{Context, Error, Operation, Result};
use crate::event::Kind;
use crate::stat::{Inode, Stat};
use crate::stop::Stop;
use crate::store::own::walk;

/// How much of a file system is to be free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeepFree {
    /// This number of bytes.
    Bytes(u64),
    /// This percentage of its size, from 0 to 100.
    Percent(u8),
}

impl KeepFree {
    /// In bytes, of a file system.
    pub(super) fn bytes(self, room: &Room) -> u64 {
        match self {
            KeepFree::Bytes(bytes) => bytes,
            KeepFree::Percent(percent) => {
                (u128::from(room.size) * u128::from(percent.min(100))).div_ceil(100) as u64
            }
        }
    }
}

/// Whether an error is for want of room.
pub(super) fn is_no_room(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::NOSPC | Errno::DQUOT))
}

/// Of a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    size: u64,
    /// For this user: what is reserved for root is not.
    pub(super) free: u64,
}

impl Room {
    /// Of the file system that has `store`. What was removed there just now counts as free: it is written back first.
    pub(super) fn of(store: &Path) -> Result<Self> {
        let file = std::fs::File::open(store).at(Operation::UseStore, || store)?;
        // One that can't be flushed has nothing that waits.
        rustix::fs::syncfs(&file).ok();
        let found = rustix::fs::fstatvfs(&file).at(Operation::UseStore, || store)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Room { size: bytes(found.f_blocks), free: bytes(found.f_bavail) })
    }
}

/// Adds up what would be free if trees went, one after the other.
#[derive(Debug, Default)]
pub(super) struct Freed {
    /// Bytes. What extents are shared with other files, on file systems that can, is counted as if it were not.
    pub(super) bytes: u64,
    /// Of each file that has names elsewhere: how many are still to be found.
    left: HashMap<Inode, u32>,
}

impl Freed {
    /// Counts one more tree. What can't be looked at counts as if it stayed, and so does what is mounted in it.
    pub(super) fn add(&mut self, tree: &Path, stop: &Stop) {
        let Ok(root) = walk::top(tree) else { return };
        self.count(&root);
        let each = |stat: &Stat| {
            let is_within = stat.inode.device == root.inode.device;
            if is_within {
                self.count(stat);
            }
            is_within
        };
        walk::walk(tree, stop, each, drop);
    }

    fn count(&mut self, stat: &Stat) {
        if stat.kind != Kind::Directory && stat.links > 1 {
            let left = self.left.entry(stat.inode).or_insert(stat.links);
            *left = left.saturating_sub(1);
            if *left > 0 {
                return;
            }
            self.left.remove(&stat.inode);
        }
        self.bytes += stat.allocated;
    }
}
