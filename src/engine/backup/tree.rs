//! `--backup-dir`: a tree of directories that stand for those of the destination, and look as they do.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};
use std::sync::{Arc, PoisonError};

use rustix::fs::Mode;
use rustix::io::Errno;

use crate::engine::Run;
use crate::engine::backup::Old;
use crate::engine::own::{directory, litter, shed};
use crate::engine::state::backup_name::numbered;
use crate::engine::state::backups::{Backups, OPEN, Tree};
use crate::error::{Cause, Context, Error, NotKept, Operation, Property, Result};
use crate::event::Event;
use crate::io::file::lies_on_program;
use crate::io::path::open_directory;
use crate::io::rename::rename_free;
use crate::io::temporary::is_marked;
use crate::metadata::{self, HeldInode, Target, Wanted};
use crate::stat::{Stat, stat_open};

/// How often a directory of the tree is tried to be made, while others give its name to something else.
const ATTEMPTS: usize = 8;

impl Tree {
    /// Before a directory of the tree is used for the first time: removes what a killed run left in it. Other tasks wait for
    /// that, for the names that they will make there look alike.
    fn sweep(&self, within: &OwnedFd, run: &Run) -> Result<()> {
        let inode = stat_open(within).at(Operation::Backup, || &self.path)?.inode;
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if swept.insert(inode) {
            litter::remove(within, inode, None, false, run);
        }
        Ok(())
    }

    /// The directory of the tree that stands for the entry's own; what of it is missing is made, and looks as those in
    /// the destination do.
    pub(crate) fn directory(&self, old: &Old<'_>, backups: &Backups) -> Result<Arc<OwnedFd>> {
        let top = self.top(old.run)?;
        if old.directory.as_os_str().is_empty() {
            return Ok(top);
        }
        let at = || self.path.join(old.directory);
        match open_directory(&top, old.directory.as_os_str().as_bytes()) {
            // What an older backup has there is no directory, perhaps.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Ok(fd) => {
                if self.is_known(&fd).at(Operation::Backup, at)? {
                    return Ok(Arc::new(fd));
                }
            }
            Err(errno) => return Err(errno).at(Operation::Backup, at),
        }
        let model = old.run.roots.destination.fd.as_ref().ok_or(Errno::NOENT).at(Operation::Backup, at)?;
        let (mut within, mut model) = (top, model.clone());
        let mut wanted = names(old.directory).peekable();
        let mut made = self.path.clone();
        for name in names(old.lies_at) {
            let opened = rustix::fs::openat(&model, name, OPEN, Mode::empty());
            model = opened.map(Arc::new).at(Operation::Backup, at)?;
            // What was set aside lies deeper than its backups do.
            if wanted.next_if_eq(&name).is_some() {
                made.push(name);
                within = Arc::new(self.make(&within, name.as_bytes(), &made, &model, old.run, backups)?);
                self.sweep(&within, old.run)?;
            }
        }
        match wanted.next() {
            None => Ok(within),
            Some(_) => Err(Errno::NOENT).at(Operation::Backup, at),
        }
    }

    /// Opens or makes one directory, whose path is `path`.
    fn make(
        &self,
        within: &OwnedFd,
        name: &[u8],
        path: &Path,
        model: &OwnedFd,
        run: &Run,
        backups: &Backups,
    ) -> Result<OwnedFd> {
        let at = || path;
        let c_name = CString::new(name).map_err(|_| Errno::INVAL).at(Operation::Backup, at)?;
        let is_open = self.is_open(within).at(Operation::Backup, at)?;
        for _ in 0..ATTEMPTS {
            match directory::make(within, &c_name, run) {
                Ok(fd) => {
                    self.look_like(&fd, (model, is_open), run, path)?;
                    self.remember(&fd).at(Operation::Backup, at)?;
                    return Ok(fd);
                }
                // Another run may have found it, and put something in it.
                Err(Errno::EXIST | Errno::STALE) => {}
                Err(errno) => return Err(errno).at(Operation::Backup, at),
            }
            match rustix::fs::openat(within, name, OPEN, Mode::empty()) {
                Ok(fd) => {
                    // One that a killed run made, and did not get to give its attributes, has nothing in it.
                    let stat = stat_open(&fd).at(Operation::Backup, at)?;
                    if is_marked(&stat) && litter::is_empty(&fd, c".").at(Operation::Backup, at)? {
                        self.look_like(&fd, (model, is_open), run, path)?;
                    }
                    self.narrow(&fd, (model, is_open), run, path)?;
                    return Ok(fd);
                }
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    self.make_room(within, name, backups).at(Operation::Backup, at)?;
                }
                Err(Errno::NOENT) => {} // another task has made room
                Err(errno) => return Err(errno).at(Operation::Backup, at),
            }
        }
        let cause = Cause::Refused("something else takes its name again and again".into());
        Err(Error::new(Operation::Backup, path, cause))
    }

    /// Gives a new directory what the one that it stands for has.
    fn look_like(
        &self,
        fd: &OwnedFd,
        (model, is_open): (&OwnedFd, bool),
        run: &Run,
        path: &Path,
    ) -> Result<()> {
        let at = || path;
        let want = stat_open(model).at(Operation::Backup, at)?;
        let have = stat_open(fd).at(Operation::Backup, at)?;
        let holder = HeldInode::Handle(model.as_fd()).into();
        let (want, xattrs) = metadata::model(want, &holder, &run.rules, at)?;
        let (want, xattrs) = shed::closed(want, xattrs, is_open);
        let (inode, program) = (HeldInode::Handle(fd.as_fd()), lies_on_program(fd));
        let target = Target { inode, have: &have, bare: false, sure: false, program };
        let applied =
            metadata::apply(Wanted { stat: &want, xattrs: xattrs.as_ref() }, target, &run.rules, at)?;
        run.report_lacks(applied);
        Ok(())
    }

    /// Takes from a directory that is there already what the one that it stands for does not grant: somebody else may have
    /// made it, or renamed another one.
    fn narrow(&self, fd: &OwnedFd, (model, is_open): (&OwnedFd, bool), run: &Run, path: &Path) -> Result<()> {
        let at = || path;
        if self.is_known(fd).at(Operation::Backup, at)? {
            return Ok(());
        }
        let want = stat_open(model).at(Operation::Backup, at)?;
        let have = stat_open(fd).at(Operation::Backup, at)?;
        let holder = HeldInode::Handle(model.as_fd()).into();
        let (want, xattrs) = metadata::model(want, &holder, &run.rules, at)?;
        let (want, xattrs) = shed::closed(want, xattrs, is_open);
        let narrowed =
            metadata::narrow(HeldInode::Handle(fd.as_fd()), &want, &have, xattrs.as_ref(), &run.rules, at);
        if let Err(error) = narrowed {
            self.leave_open(fd, (&want, &have), run, error)?;
        }
        self.remember(fd).at(Operation::Backup, at)
    }

    /// Takes note of a directory that can't be made as tight as the one that it stands for: backups in it are their owner's
    /// alone.
    fn leave_open(&self, fd: &OwnedFd, (want, have): (&Stat, &Stat), run: &Run, error: Error) -> Result<()> {
        let (property, wanted) = match error.operation {
            Operation::SetMode => (Property::Mode, format!("{:04o}", have.mode & (want.mode | !0o077))),
            Operation::SetOwner => (Property::Owner, format!("{}:{}", want.uid, want.gid)),
            _ => return Err(error),
        };
        let Some(errno) = error.errno().filter(|errno| metadata::is_refusal(*errno)) else {
            return Err(error);
        };
        let inode = stat_open(fd).at(Operation::Backup, || &error.path)?.inode;
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(inode);
        let lack = Cause::from(NotKept::refused(property, wanted, errno));
        run.report_blocking(Event::Failed(Error::new(error.operation, error.path, lack)));
        Ok(())
    }

    /// Whether others may get into a directory of the tree who may not into the one that it stands for, or into one above.
    pub(crate) fn is_open(&self, fd: &OwnedFd) -> rustix::io::Result<bool> {
        let inode = stat_open(fd)?.inode;
        Ok(self.open.lock().unwrap_or_else(PoisonError::into_inner).contains(&inode))
    }

    /// Whether this run has seen to a directory of the tree already.
    fn is_known(&self, fd: &OwnedFd) -> rustix::io::Result<bool> {
        let inode = stat_open(fd)?.inode;
        Ok(self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(&inode))
    }

    fn remember(&self, fd: &OwnedFd) -> rustix::io::Result<()> {
        let inode = stat_open(fd)?.inode;
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(inode);
        Ok(())
    }

    /// An older backup that is no directory, where one has to be, gets another name.
    fn make_room(&self, within: &OwnedFd, name: &[u8], backups: &Backups) -> rustix::io::Result<()> {
        let old = CString::new(name).map_err(|_| Errno::INVAL)?;
        let mut claims = backups.claims.hold(stat_open(within)?.inode);
        if is_directory(within, &old) {
            return Ok(());
        }
        for number in 1.. {
            let new = numbered(name, &backups.suffix, number)?;
            match rename_free(within, &old, within, &new) {
                Err(Errno::EXIST) => {}
                Err(Errno::NOENT) => return Ok(()),
                // Another task has made the directory in this moment, and may have put backups there: it keeps its name.
                Ok(()) if is_directory(within, &new) => return rename_free(within, &new, within, &old),
                renamed => {
                    claims.add(&new);
                    return renamed;
                }
            }
        }
        Err(Errno::EXIST)
    }

    /// The tree itself. A new one looks as the destination does.
    fn top(&self, run: &Run) -> Result<Arc<OwnedFd>> {
        let mut top = self.fd.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fd) = &*top {
            return Ok(fd.clone());
        }
        let fd = Arc::new(self.walk(true)?);
        let is_empty = litter::is_empty(&fd, c".").at(Operation::Backup, || &self.path)?;
        if let Some(model) = run.roots.destination.fd.as_ref().filter(|_| is_empty) {
            self.look_like(&fd, (model, false), run, &self.path)?;
        }
        self.sweep(&fd, run)?;
        *top = Some(fd.clone());
        Ok(fd)
    }
}

fn names(path: &Path) -> impl Iterator<Item = &std::ffi::OsStr> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name),
        _ => None,
    })
}

fn is_directory(within: &OwnedFd, name: &CStr) -> bool {
    rustix::fs::openat(within, name, OPEN, Mode::empty()).is_ok()
}
