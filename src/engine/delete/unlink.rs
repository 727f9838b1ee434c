//! What a removal does to one directory, or one name, of the destination: opens it beneath the one above it, removes it or
//! takes it to the backups, and gives what stays the mode and the time back that it had.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::engine::backup::Old;
use crate::engine::delete::removal::{Doing, Removal};
use crate::engine::delete::subtree::Subtree;
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::event::{Event, Kind};
use crate::io::list::LIST;
use crate::io::subvolume::is_subvolume;
use crate::metadata::{self, HeldInode};
use crate::stat::{is_mount_point, proc_path, stat_open};

impl Removal<'_> {
    /// Opens a directory beneath the one above it. Where its mode forbids that to its owner, who runs this and is not
    /// root, the mode is changed first. `EXDEV`: it is on another file system, and stays.
    pub(crate) fn open(&self, subtree: &Subtree) -> rustix::io::Result<Arc<OwnedFd>> {
        let above = subtree.above.as_ref().ok_or(Errno::BADF)?.fd()?;
        let open = || rustix::fs::openat(&above, &subtree.name, LIST, Mode::empty());
        let fd = match open() {
            Err(Errno::ACCESS) if self.doing == Doing::Remove => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let handle = rustix::fs::openat(&above, &subtree.name, flags, Mode::empty())?;
                let had = stat_open(&handle)?.mode;
                subtree.mode.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(had);
                let mode = Mode::from_raw_mode(had) | Mode::RWXU;
                rustix::fs::chmodat(CWD, proc_path(&handle), mode, AtFlags::empty())?;
                open()?
            }
            other => other?,
        };
        let fd = Arc::new(fd);
        let inode = stat_open(&fd)?.inode;
        if subtree.depth == 1 && self.expected.is_some_and(|expected| expected != inode) {
            return Err(Errno::STALE);
        }
        // A directory of the same file system may be mounted as well.
        let crosses = self.run.config.select.cross_subvolumes;
        let is_other = || {
            stat_open(&above).is_ok_and(|above| above.inode.device != inode.device)
                && !(crosses && is_subvolume(&fd, inode))
        };
        let elsewhere = || is_other() || !self.keeps_mounts(subtree) && is_mount_point(&fd, c"");
        if self.run.config.select.one_file_system && elsewhere() {
            return Err(Errno::XDEV);
        }
        *subtree.inode.lock().unwrap_or_else(PoisonError::into_inner) = Some(inode);
        *subtree.fd.lock().unwrap_or_else(PoisonError::into_inner) = Some(fd.clone());
        self.open.fetch_add(1, Ordering::Relaxed);
        Ok(fd)
    }

    pub(crate) fn close(&self, subtree: &Subtree) {
        if subtree.fd.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether what is mounted in a directory keeps it.
    pub(crate) fn keeps_mounts(&self, subtree: &Subtree) -> bool {
        self.keeps_mounts || subtree.is_within_aside()
    }

    /// Whether something is mounted at a name, or with none at the directory itself, which is to stay for that.
    pub(crate) fn is_mounted(&self, subtree: &Subtree, fd: &OwnedFd, name: &CStr) -> bool {
        self.keeps_mounts(subtree) && is_mount_point(fd, name)
    }

    pub(crate) fn keep_mount(&self, subtree: &Subtree, path: PathBuf) {
        subtree.kept.store(true, Ordering::Relaxed);
        let cause = Cause::Refused("a file system is mounted there (unmount it first)".into());
        self.fail(Error::new(Operation::Remove, self.run.destination_path(&path), cause));
    }

    /// A directory from which names go without being told one by one, if it is one.
    pub(crate) fn quiet(&self, subtree: &Subtree) -> Option<Arc<OwnedFd>> {
        let is_quiet = self.run.config.counts_deleted
            && self.doing == Doing::Remove
            && self.run.backups.is_none()
            && !self.keeps_mounts(subtree);
        is_quiet.then(|| subtree.fd().ok()).flatten()
    }

    /// Removes a name from such a directory. What does not go is for others to remove, or to tell.
    pub(crate) fn goes_quietly(&self, within: Option<&Arc<OwnedFd>>, name: &CStr, flags: AtFlags) -> bool {
        within.is_some_and(|fd| rustix::fs::unlinkat(fd, name, flags).is_ok())
    }

    /// Removes a name. Where the directory's mode forbids that to its owner, who is not root, the mode is changed
    /// first.
    pub(crate) fn unlink(&self, subtree: &Subtree, name: &CStr, flags: AtFlags) -> Result<()> {
        let path = || self.run.destination_path(&subtree.path_of(name));
        let fd = subtree.fd().at(Operation::Remove, path)?;
        let remove = || {
            if self.run.backups.is_none() || flags.contains(AtFlags::REMOVEDIR) {
                return rustix::fs::unlinkat(&fd, name, flags).at(Operation::Remove, path);
            }
            let (directory, lies_at, watched) = (&subtree.path(), &subtree.lies_at(), self.watched);
            let (run, within, source, expected) = (self.run, &fd, None, None);
            Old { run, within, directory, lies_at, source, name, expected, watched }.take_away()
        };
        match remove() {
            Err(error) if error.errno() == Some(Errno::ACCESS) && !self.run.rules.privileges.root => {
                let had = stat_open(&fd).at(Operation::Remove, path)?.mode;
                subtree.mode.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(had);
                let mode = Mode::from_raw_mode(had) | Mode::RWXU;
                let opened = rustix::fs::chmodat(CWD, proc_path(&fd), mode, AtFlags::empty());
                opened.map_err(|_| error).and_then(|()| remove())
            }
            other => other,
        }
    }

    /// Removes what held something that was set aside. It was never an entry: only an error is reported.
    pub(crate) fn remove_aside(&self, above: &Subtree, name: &CStr) {
        if self.doing == Doing::Remove
            && let Err(error) = self.unlink(above, name, AtFlags::REMOVEDIR)
        {
            above.kept.store(true, Ordering::Relaxed);
            self.fail(error);
        }
    }

    /// Gives a directory in which something stays the permissions back that it had.
    pub(crate) fn restore_mode(&self, subtree: &Subtree) {
        let mode = subtree.mode.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mode) = mode else { return };
        let restored = subtree.fd().and_then(|fd| {
            rustix::fs::chmodat(CWD, proc_path(&fd), Mode::from_raw_mode(mode), AtFlags::empty())
        });
        if let Err(errno) = restored {
            self.fail(Error::new(Operation::SetMode, self.run.destination_path(&subtree.path()), errno));
        }
    }

    /// Gives a directory that stays the mode and the time that it had before.
    pub(crate) fn finish(&self, subtree: &Subtree) {
        self.kept.fetch_or(subtree.kept.load(Ordering::Relaxed), Ordering::Relaxed);
        let Some(after) = subtree.after.filter(|_| self.doing == Doing::Remove) else { return };
        let path = || self.run.destination_path(&subtree.path);
        let restored = subtree.fd().at(Operation::SetTimes, path).and_then(|fd| {
            if stat_open(&fd).at(Operation::StatDestination, path)?.mode != after.mode {
                let mode = Mode::from_raw_mode(after.mode);
                rustix::fs::fchmod(&fd, mode).at(Operation::SetMode, path)?;
            }
            match self.run.rules.keep.times_of(Kind::Directory) {
                true => metadata::restore_mtime(HeldInode::Open(fd.as_fd()), after.modified, path),
                false => Ok(()),
            }
        });
        if let Err(error) = restored {
            self.run.report_blocking(Event::Failed(error));
        }
    }
}
