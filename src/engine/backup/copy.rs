//! Copies of what is backed up, where one more hard link can't be had: of files with their holes, of symlinks and of
//! special files, each with its metadata.

use std::ffi::CStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use crate::content::sparse::{self, Layout};
use crate::engine::backup::Old;
use crate::engine::own::{directory, litter, shed};
use crate::engine::run::flushed::flush_file_now;
use crate::engine::state::file_systems::{keeps_nameless, lacks_nameless};
use crate::error::{Context, Operation, Result};
use crate::event::Kind;
use crate::io::close;
use crate::io::file::{Family, lies_on_program, set_size};
use crate::io::rename::link_nameless;
use crate::io::temporary::lock;
use crate::metadata::xattr::{Holder, Xattrs};
use crate::metadata::{self, HeldInode, Target, Wanted};
use crate::stat::{Stat, proc_path, stat_open};

/// Bytes that are copied between two looks at whether to go on.
const PIECE: u64 = 16 << 20;

impl Old<'_> {
    /// Makes a copy of it under a temporary name.
    pub(crate) fn copy_to(&self, within: &OwnedFd, temporary: &CStr, in_open: bool) -> Result<()> {
        let path = || self.path();
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle =
            rustix::fs::openat(self.within, self.name, flags, Mode::empty()).at(Operation::Backup, path)?;
        let stat = stat_open(&handle).at(Operation::Backup, path)?;
        if stat.kind == Kind::File {
            let place = stat_open(within).at(Operation::Backup, path)?;
            let file_system = self.run.file_systems.of(within, &place);
            if !file_system.refuses_nameless() {
                if self.copy_nameless((&handle, &stat), (within, temporary), in_open)? {
                    return Ok(());
                }
                file_system.mark_refuses_nameless();
            }
            let new = named_file(within, temporary).at(Operation::Backup, path)?;
            return self.fill((&handle, &stat), &new, in_open);
        }
        // Where nobody can exchange it before it is given away.
        let home = self.run.temporary.new_name(within).at(Operation::Backup, path)?;
        let private = directory::make(within, &home, self.run).at(Operation::Backup, path)?;
        let made = self.copy_node(&stat, &private, temporary, in_open).and_then(|()| {
            rustix::fs::renameat(&private, temporary, within, temporary).at(Operation::Backup, path)
        });
        litter::remove_directory(within, &home, self.run);
        made
    }

    /// Makes the copy of a file without a name, which it then gets. Returns whether that can be done.
    fn copy_nameless(
        &self,
        file: (&OwnedFd, &Stat),
        (within, temporary): (&OwnedFd, &CStr),
        in_open: bool,
    ) -> Result<bool> {
        let path = || self.path();
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::TMPFILE;
        let new = match rustix::fs::openat(within, c".", flags, Mode::RUSR | Mode::WUSR) {
            Err(errno) if lacks_nameless(errno) => return Ok(false),
            opened => opened.at(Operation::Backup, path)?,
        };
        self.fill(file, &new, in_open)?;
        match link_nameless(&new, within, temporary) {
            Err(errno) if keeps_nameless(errno) => Ok(false),
            named => named.map(|()| true).at(Operation::Backup, path),
        }
    }

    /// Gives a copy all that the file has.
    fn fill(&self, (handle, stat): (&OwnedFd, &Stat), new: &OwnedFd, in_open: bool) -> Result<()> {
        let path = || self.path();
        let holder = HeldInode::Handle(handle.as_fd()).into();
        let model = metadata::model(*stat, &holder, &self.run.rules, path)?;
        self.copy_contents(handle, stat, new).at(Operation::Backup, path)?;
        let have = stat_open(new).at(Operation::Backup, path)?;
        self.look_alike(HeldInode::Open(new.as_fd()), &have, model, in_open)?;
        if self.run.config.fsync {
            flush_file_now(new, self.run, path)?;
        }
        close::ask_if_it_may_tell(new).at(Operation::Backup, path)
    }

    /// Makes what is no file anew, in a directory that is the run's own.
    fn copy_node(&self, stat: &Stat, private: &OwnedFd, name: &CStr, in_open: bool) -> Result<()> {
        let path = || self.path();
        make(self.within, self.name, stat, private, name).at(Operation::Backup, path)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let new = rustix::fs::openat(private, name, flags, Mode::empty()).at(Operation::Backup, path)?;
        let have = stat_open(&new).at(Operation::Backup, path)?;
        // A symlink's own attributes are read by its name.
        let holder = Holder::Name(self.within.as_fd(), self.name);
        let model = metadata::model(*stat, &holder, &self.run.rules, path)?;
        self.look_alike(HeldInode::Handle(new.as_fd()), &have, model, in_open)
    }

    /// Gives a copy the metadata of what it is a copy of.
    fn look_alike(
        &self,
        inode: HeldInode<'_>,
        have: &Stat,
        (stat, xattrs): (Stat, Option<Xattrs>),
        in_open: bool,
    ) -> Result<()> {
        let (stat, xattrs) = shed::closed(stat, xattrs, in_open);
        let target = Target { inode, have, bare: false, sure: false, program: lies_on_program(self.within) };
        let wanted = Wanted { stat: &stat, xattrs: xattrs.as_ref() };
        let applied = metadata::apply(wanted, target, &self.run.rules, || self.path())?;
        self.run.report_lacks(applied);
        Ok(())
    }

    /// Copies a file's contents, with its holes, piece by piece.
    fn copy_contents(&self, handle: &OwnedFd, stat: &Stat, new: &OwnedFd) -> std::io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let source = rustix::fs::open(proc_path(handle), flags, Mode::empty())?;
        let sparse = sparse::layout(&source, stat, Family::of(&source)) == Layout::Sparse;
        let (mut from, mut to) = (File::from(source.try_clone()?), File::from(new.try_clone()?));
        let (mut at, mut passed) = (0, 0);
        while at < stat.size {
            if let Some(watched) = self.watched {
                watched.doing(Operation::Backup);
            }
            if self.run.stop.is_stopped() {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            let data = match sparse.then(|| sparse::seek_data(&source, at..stat.size)) {
                Some(Err(errno)) if !sparse::has_no_answer(errno) => return Err(errno.into()),
                Some(Ok(data)) => data,
                Some(Err(_)) | None => Some(at..stat.size),
            };
            let Some(data) = data else { break };
            let end = data.end.min(data.start + PIECE);
            if sparse {
                // Where it may not be moved, it is there already: all of it is data.
                let place = SeekFrom::Start(data.start);
                let moved = from.seek(place).and_then(|_| to.seek(place));
                moved.map(drop).or_else(|error| if passed == data.start { Ok(()) } else { Err(error) })?;
            }
            passed = data.start + std::io::copy(&mut from.by_ref().take(end - data.start), &mut to)?;
            at = end;
        }
        Ok(set_size(new, stat.size)?)
    }
}

/// An empty file with a temporary name. It is locked, so that no other run takes it for what a killed one left.
fn named_file(within: &OwnedFd, temporary: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(within, temporary, flags, Mode::RUSR | Mode::WUSR)?;
    lock(&fd);
    Ok(fd)
}

/// Makes a symlink or a special file like an old one.
fn make(
    from: &OwnedFd,
    name: &CStr,
    stat: &Stat,
    within: &OwnedFd,
    temporary: &CStr,
) -> rustix::io::Result<()> {
    if stat.kind == Kind::Symlink {
        let target = rustix::fs::readlinkat(from, name, Vec::with_capacity(256))?;
        return rustix::fs::symlinkat(target, within, temporary);
    }
    let device = rustix::fs::makedev(stat.device_node.0, stat.device_node.1);
    rustix::fs::mknodat(within, temporary, stat.kind.file_type(), Mode::RUSR | Mode::WUSR, device)
}
