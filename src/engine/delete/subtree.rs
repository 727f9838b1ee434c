//! A directory of the destination that is being emptied: one that is to go, or one that stays.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::io::Errno;

use crate::error::Result;
use crate::io::path::open_directory;
use crate::select::Scope;
use crate::stat::{Inode, Stat, stat_open};

/// A directory of the destination at work.
pub(crate) struct Subtree {
    /// The one above it, which is to be emptied too; `None`: this one stays.
    pub(crate) above: Option<Arc<Subtree>>,
    pub(crate) name: CString,
    /// It holds what was set aside, which belongs to the directory above.
    pub(crate) is_aside: AtomicBool,
    /// Levels below the one that stays.
    pub(crate) depth: usize,
    pub(crate) fd: Mutex<Option<Arc<OwnedFd>>>,
    pub(crate) inode: Mutex<Option<Inode>>,
    /// Pieces of work in it, and directories, that are not done.
    pub(crate) pending: AtomicUsize,
    /// Something in it stays.
    pub(crate) kept: AtomicBool,
    /// Its path below the roots, for one that stays.
    pub(crate) path: PathBuf,
    /// Rules by which something in it may stay.
    pub(crate) scopes: OnceLock<Vec<Arc<Scope>>>,
    /// The permissions it had, if they were changed.
    pub(crate) mode: Mutex<Option<u32>>,
    /// What one that stays is to look like afterwards.
    pub(crate) after: Option<Stat>,
}

impl Subtree {
    /// Its path below the roots. What was set aside has the one that it had before.
    pub(crate) fn path(&self) -> PathBuf {
        self.path_by(|subtree| !subtree.is_aside.load(Ordering::Relaxed))
    }

    /// Where it lies below the roots.
    pub(crate) fn lies_at(&self) -> PathBuf {
        self.path_by(|_| true)
    }

    fn path_by(&self, counts: impl Fn(&Subtree) -> bool) -> PathBuf {
        let mut names = Vec::new();
        let mut subtree = self;
        while let Some(above) = &subtree.above {
            if counts(subtree) {
                names.push(OsStr::from_bytes(subtree.name.to_bytes()));
            }
            subtree = above;
        }
        let mut path = subtree.path.clone();
        path.extend(names.into_iter().rev());
        path
    }

    /// Whether it lies in one that holds what was set aside, or is one.
    pub(crate) fn is_within_aside(&self) -> bool {
        let mut nodes = std::iter::successors(Some(self), |subtree| subtree.above.as_deref());
        nodes.any(|subtree| subtree.is_aside.load(Ordering::Relaxed))
    }

    pub(crate) fn scopes(&self) -> &[Arc<Scope>] {
        self.scopes.get().map_or(&[], Vec::as_slice)
    }

    /// Finds out which rules hold in it: those of the directory above, and of its own files.
    pub(crate) fn enter(&self, fd: &OwnedFd, has_files: bool) -> Result<()> {
        let above = self.above.iter().flat_map(|above| above.scopes());
        let enter = |scope: &Arc<Scope>| match has_files {
            _ if self.is_aside.load(Ordering::Relaxed) => Ok(scope.clone()),
            true => scope.enter(&self.name, fd).map(Arc::new),
            false => Ok(Arc::new(scope.below(&self.name))),
        };
        let scopes = above.map(enter).collect::<Result<_>>()?;
        self.scopes.get_or_init(|| scopes);
        Ok(())
    }

    pub(crate) fn path_of(&self, name: &CStr) -> PathBuf {
        self.path().join(OsStr::from_bytes(name.to_bytes()))
    }

    /// The directory, opened again if it was closed. It must be the one it was.
    pub(crate) fn fd(&self) -> rustix::io::Result<Arc<OwnedFd>> {
        let held = |subtree: &Subtree| subtree.fd.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut names = Vec::new();
        let mut subtree = self;
        let base = loop {
            if let Some(fd) = held(subtree) {
                break fd;
            }
            names.push(subtree.name.to_bytes());
            subtree = subtree.above.as_ref().ok_or(Errno::BADF)?;
        };
        if names.is_empty() {
            return Ok(base);
        }
        names.reverse();
        let fd = open_directory(&base, &names.join(&b'/'))?;
        let inode = *self.inode.lock().unwrap_or_else(PoisonError::into_inner);
        if Some(stat_open(&fd)?.inode) != inode {
            return Err(Errno::STALE);
        }
        Ok(Arc::new(fd))
    }

    /// The directory above it.
    pub(crate) fn above_inode(&self) -> Option<Inode> {
        let above = self.above.as_ref()?;
        *above.inode.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn hold(&self) {
        self.pending.fetch_add(1, Ordering::Relaxed);
    }
}
