//! The file systems that the destination lies on, and what the run has learnt of each.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::io::file::{folds_case, is_faithful};
use crate::stat::{Stat, stat_open};

/// The file systems that the destination lies on, by their devices.
#[derive(Default)]
pub(crate) struct FileSystems(Mutex<HashMap<u64, Arc<FileSystem>>>);

/// One of them.
#[derive(Default)]
pub(crate) struct FileSystem {
    /// A directory of it, if it is to be flushed in the end.
    directory: OnceLock<Arc<OwnedFd>>,
    /// It keeps the owners, modes and ordinary times that it does not refuse.
    pub(crate) is_faithful: bool,
    /// What became of one new entry has been looked at.
    looked_at: AtomicBool,
    /// That it rounds times has been told.
    rounding_told: AtomicBool,
}

/// The times, in seconds since 1970, that every file system has which is faithful otherwise.
const ORDINARY: std::ops::Range<i64> = 0..i32::MAX as i64;

impl FileSystem {
    /// Whether nobody has to look at what becomes of metadata like these. The first look at each file system tells how it
    /// rounds times.
    pub(crate) fn is_sure(&self, want: &Stat) -> bool {
        self.is_faithful
            && self.looked_at.swap(true, Ordering::Relaxed)
            && ORDINARY.contains(&want.modified.seconds)
    }

    /// Whether a directory of it may take two names for one.
    pub(crate) fn may_fold(&self, directory: &OwnedFd) -> bool {
        !self.is_faithful || folds_case(directory)
    }

    /// Whether it is now to be told that it rounds times: once.
    pub(crate) fn tells_rounding(&self) -> bool {
        !self.rounding_told.swap(true, Ordering::Relaxed)
    }
}

impl FileSystems {
    /// That of an open directory.
    pub(crate) fn of(&self, directory: &OwnedFd, stat: &Stat) -> Arc<FileSystem> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(FileSystem { is_faithful: is_faithful(directory), ..FileSystem::default() });
        known.entry(stat.inode.device).or_insert_with(new).clone()
    }

    /// Takes note of a directory's file system, which is to be flushed in the end.
    pub(crate) fn add(&self, directory: &Arc<OwnedFd>, stat: &Stat) {
        self.of(directory, stat).directory.get_or_init(|| directory.clone());
    }

    pub(crate) fn flush(&self) -> rustix::io::Result<()> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().filter_map(|file_system| file_system.directory.get()).try_for_each(|directory| {
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
