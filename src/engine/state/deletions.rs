//! What is to be deleted: collected while the trees are compared.
//!
//! A directory whose mirror has extra entries takes some 100 bytes, and the names of these.

use std::collections::HashSet;
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::state::directory::Directory;
use crate::select::Scope;
use crate::stat::{Inode, Place, Stat};
use crate::walk::Entry;

/// A directory of the destination, and what it has beyond the source.
#[derive(Debug)]
pub(crate) struct Doomed {
    /// Its path below the roots.
    pub(crate) path: PathBuf,
    /// Which directory it was when it was listed.
    pub(crate) inode: Inode,
    /// What it is to look like afterwards.
    pub(crate) stat: Stat,
    /// Rules by which something in it may stay.
    pub(crate) scopes: Vec<Arc<Scope>>,
    /// Its source, as it was listed.
    pub(crate) source: Option<Place>,
    names: Vec<u8>,
}

impl Doomed {
    pub(crate) fn new(path: PathBuf, stat: Stat, scopes: Vec<Arc<Scope>>) -> Self {
        Doomed { path, inode: stat.inode, stat, scopes, source: None, names: Vec::new() }
    }

    pub(crate) fn add(&mut self, name: &CStr) {
        self.names.extend_from_slice(name.to_bytes_with_nul());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The same without the names of these paths.
    fn without(mut self, paths: &HashSet<PathBuf>) -> Self {
        if !paths.is_empty() {
            let path = |name: &CStr| self.path.join(OsStr::from_bytes(name.to_bytes()));
            let left = self.names().filter(|name| !paths.contains(&path(name)));
            self.names = left.flat_map(CStr::to_bytes_with_nul).copied().collect();
        }
        self
    }

    /// The extra entries' names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &CStr> {
        let name = |bytes| CStr::from_bytes_with_nul(bytes).ok();
        self.names.split_inclusive(|&byte| byte == 0).filter_map(name)
    }
}

/// An entry of the source that waits for the directory in its place to be deleted.
#[derive(Debug)]
pub(crate) struct InTheWay {
    pub(crate) directory: Arc<Directory>,
    pub(crate) entry: Entry,
}

/// All that a run is to delete, as far as is known.
#[derive(Default)]
pub(crate) struct Deletions {
    doomed: Mutex<Vec<Doomed>>,
    in_the_way: Mutex<Vec<InTheWay>>,
    /// Directories below which nothing is deleted.
    protected: Mutex<HashSet<PathBuf>>,
    /// Names that are not deleted, though the source lacks them now: what has vanished during the run, and those above it.
    vanished: Mutex<HashSet<PathBuf>>,
    /// Entries of the destination that were listed.
    listed: AtomicU64,
    /// The source has something.
    source_has_entries: AtomicBool,
    /// Something of the source could not be read.
    read_failed: AtomicBool,
    /// Directories of the source that can't be listed, if their mirrors are to be emptied all the same.
    unread: Mutex<Vec<Arc<Directory>>>,
    /// What was deleted before anything was copied.
    begun: Mutex<Begun>,
}

/// What became of deletions before the rest of a run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Begun {
    /// Entries that were deleted.
    pub(crate) count: u64,
    /// More would have been than may be, and so nothing was.
    pub(crate) refused: bool,
    /// Nothing was, since something could not be read, which was told.
    pub(crate) held_back: bool,
}

impl Deletions {
    pub(crate) fn add(&self, doomed: Doomed) {
        self.doomed.lock().unwrap_or_else(PoisonError::into_inner).push(doomed);
    }

    pub(crate) fn add_in_the_way(&self, waiting: InTheWay) {
        self.in_the_way.lock().unwrap_or_else(PoisonError::into_inner).push(waiting);
    }

    /// Nothing is to be deleted below a directory: not all of the source is known there, or not all of it was written.
    pub(crate) fn protect(&self, path: PathBuf) {
        self.protected.lock().unwrap_or_else(PoisonError::into_inner).insert(path);
    }

    /// What has vanished from the source during the run may only have moved: its mirror, and what is below that, stays until
    /// the next one.
    pub(crate) fn protect_vanished(&self, path: PathBuf) {
        let mut vanished = self.vanished.lock().unwrap_or_else(PoisonError::into_inner);
        let names = path.ancestors().filter(|path| !path.as_os_str().is_empty());
        vanished.extend(names.map(Path::to_path_buf));
        drop(vanished);
        self.protect(path);
    }

    /// What is left of it without what is known to have vanished.
    pub(crate) fn without_vanished(&self, doomed: Doomed) -> Doomed {
        doomed.without(&self.vanished.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Something of the source could not be read.
    pub(crate) fn mark_read_failed(&self) {
        self.read_failed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_read_failed(&self) -> bool {
        self.read_failed.load(Ordering::Relaxed)
    }

    /// The mirror of a directory that can't be listed is to be emptied.
    pub(crate) fn add_unread(&self, directory: &Arc<Directory>) {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner).push(directory.clone());
    }

    pub(crate) fn take_unread(&self) -> Vec<Arc<Directory>> {
        std::mem::take(&mut *self.unread.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes note of what was deleted before anything was copied.
    pub(crate) fn set_begun(&self, begun: Begun) {
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner) = begun;
    }

    pub(crate) fn begun(&self) -> Begun {
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the entries of a directory of the destination.
    pub(crate) fn count_listed(&self, entries: u64) {
        self.listed.fetch_add(entries, Ordering::Relaxed);
    }

    pub(crate) fn mark_source_has_entries(&self) {
        // Nearly always it is known already: what all threads only read stays in all caches.
        if self.source_is_empty() {
            self.source_has_entries.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn source_is_empty(&self) -> bool {
        !self.source_has_entries.load(Ordering::Relaxed)
    }

    pub(crate) fn listed(&self) -> u64 {
        self.listed.load(Ordering::Relaxed)
    }

    /// Everything that may be deleted, and what waits for that; then what waits in vain.
    pub(crate) fn take(&self) -> (Vec<Doomed>, Vec<InTheWay>, Vec<InTheWay>) {
        let doomed = std::mem::take(&mut *self.doomed.lock().unwrap_or_else(PoisonError::into_inner));
        let waiting = std::mem::take(&mut *self.in_the_way.lock().unwrap_or_else(PoisonError::into_inner));
        let protected = self.protected.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free =
            |path: &Path| protected.is_empty() || !path.ancestors().any(|above| protected.contains(above));
        let vanished = self.vanished.lock().unwrap_or_else(PoisonError::into_inner);
        let doomed = doomed.into_iter().filter(|doomed| is_free(&doomed.path));
        let doomed =
            doomed.map(|doomed| doomed.without(&vanished)).filter(|doomed| !doomed.is_empty()).collect();
        let (waiting, in_vain) = waiting.into_iter().partition(|waiting| is_free(&waiting.directory.path()));
        (doomed, waiting, in_vain)
    }
}
