//! The file systems that the destination lies on.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use crate::stat::{Stat, stat_open};

/// The file systems that the destination lies on, each with a directory of it.
#[derive(Default)]
pub(crate) struct FileSystems(Mutex<HashMap<u64, Arc<OwnedFd>>>);

impl FileSystems {
    /// Takes note of a directory's file system.
    pub(crate) fn add(&self, directory: &Arc<OwnedFd>, stat: &Stat) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(stat.inode.device).or_insert_with(|| directory.clone());
    }

    pub(crate) fn flush(&self) -> rustix::io::Result<()> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().try_for_each(|directory| {
            rustix::fs::syncfs(directory)?;
            check_alive(directory)
        })
    }
}

/// xfs that has shut itself down, since its disk failed, has dropped the names it had not written: there is nothing to
/// flush any more, and fsync(2) of a directory succeeds. A stat tells.
pub(crate) fn check_alive(directory: &OwnedFd) -> rustix::io::Result<()> {
    stat_open(directory).map(drop)
}
