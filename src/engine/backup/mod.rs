//! `--backup`: what is replaced or deleted keeps a name, with a suffix beside its own or in a tree of its own. It gets
//! that name before it loses its old one: at no moment it has none.
//!
//! A backup takes the place of an older backup, and of nothing else: not of a directory, not of what the source has under
//! that name, and not of what this run has put there. Where it can't have its name, it gets one with a number.

pub(crate) mod copy;
pub(crate) mod tree;

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

use crate::engine::Run;
use crate::engine::own::writable::writable;
use crate::engine::run::flushed::flush_directory_now;
use crate::engine::state::backup_name::{numbered, plain};
use crate::engine::state::backups::Backups;
use crate::engine::state::file_systems::is_link_refusal;
use crate::engine::state::watched::Watched;
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::io::path::open_entry;
use crate::io::rename::rename_free;
use crate::metadata::flags::frozen_at;
use crate::stat::{Inode, Stat, stat_open};

/// An entry of the destination that is about to lose its name.
pub(crate) struct Old<'a> {
    pub(super) run: &'a Run,
    pub(super) within: &'a Arc<OwnedFd>,
    /// Path of its directory below the roots.
    pub(super) directory: &'a Path,
    /// Where that directory lies now: it may be in one that was set aside.
    pub(super) lies_at: &'a Path,
    /// The directory of the source that has its name. Without one it is looked for.
    pub(super) source: Option<&'a OwnedFd>,
    pub(super) name: &'a CStr,
    /// What the name had when it was compared. Another one, which another run has put there, is no old version.
    pub(super) expected: Option<Inode>,
    /// Who is told that a copy goes on.
    pub(super) watched: Option<&'a Watched>,
}

impl Old<'_> {
    pub(super) fn path(&self) -> PathBuf {
        let name = std::ffi::OsStr::from_bytes(self.name.to_bytes());
        self.run.destination_path(&self.directory.join(name))
    }

    /// Takes it away instead of deleting it.
    pub(super) fn take_away(&self) -> Result<()> {
        self.keep()?;
        rustix::fs::unlinkat(self.within, self.name, AtFlags::empty()).at(Operation::Remove, || self.path())
    }

    /// Keeps it by one more name, or as a copy.
    pub(super) fn keep(&self) -> Result<()> {
        if self.link()? { Ok(()) } else { self.copy() }
    }

    /// Keeps it by one more name. Returns whether that can be done.
    pub(super) fn link(&self) -> Result<bool> {
        let Some(place) = self.place()? else { return Ok(true) };
        let is_closed = |stat: Stat| stat.mode & 0o077 == 0;
        if place.in_open && !stat_name(self.within, self.name).is_some_and(is_closed) {
            return Ok(false); // one more name would let others in
        }
        let link_to = |name: &CStr| {
            let link = || rustix::fs::linkat(self.within, self.name, &place.within, name, AtFlags::empty());
            writable(&place.within, self.run, link)?;
            if self.is_expected(stat_name(&place.within, name)) {
                return Ok(());
            }
            rustix::fs::unlinkat(&place.within, name, AtFlags::empty())?;
            Err(Errno::STALE)
        };
        let replace = |name: &CStr| {
            let temporary = self.run.temporary.new_name(&place.within)?;
            link_to(&temporary)?;
            take_place(&place.within, &temporary, name)
        };
        match place.give_name(self, true, link_to, replace) {
            Ok(()) => self.flush(&place.within).map(|()| true),
            // Another run has backed it up; or programs behind FUSE give each name a number of its own.
            Err(Errno::STALE) if self.expected.is_some() => {
                Ok(!self.is_expected(stat_name(self.within, self.name)))
            }
            // Another file system, one without hard links, or somebody else's file (proc_sys_fs(5), protected_hardlinks).
            Err(errno) if is_link_refusal(errno) => Ok(false),
            Err(errno) => Err(self.no_name(errno, &place)),
        }
    }

    /// Keeps a copy of it.
    pub(super) fn copy(&self) -> Result<()> {
        let Some(place) = self.place()? else { return Ok(()) };
        if !self.is_expected(stat_name(self.within, self.name)) {
            return Ok(());
        }
        let within = &place.within;
        let temporary = self.run.temporary.new_name(within);
        let temporary = temporary.map_err(|errno| self.no_name(errno, &place))?;
        let copied = self.copy_to(within, &temporary, place.in_open).and_then(|()| {
            let free = |name: &CStr| rename_free(within, &temporary, within, name);
            let replace = |name: &CStr| rustix::fs::renameat(within, &temporary, within, name);
            place.give_name(self, false, free, replace).map_err(|errno| self.no_name(errno, &place))
        });
        if copied.is_err() {
            rustix::fs::unlinkat(within, &temporary, AtFlags::empty()).ok();
        }
        copied.and_then(|()| self.flush(within))
    }

    /// Whether this is what was compared, if that is known.
    fn is_expected(&self, found: Option<Stat>) -> bool {
        self.expected.is_none_or(|expected| found.is_some_and(|found| found.inode == expected))
    }

    /// The error of a backup that gets no name.
    fn no_name(&self, errno: Errno, place: &BackupPlace<'_>) -> Error {
        if let (Errno::PERM, Some(how)) = (errno, frozen_at(&place.within, c"")) {
            let cause = Cause::Refused(format!("{errno}: the directory of its backup is {how}"));
            return Error::new(Operation::Backup, self.path(), cause);
        }
        if errno != Errno::NAMETOOLONG {
            return Error::new(Operation::Backup, self.path(), errno);
        }
        let cause = match place.backups.suffix.is_empty() {
            true => Cause::Refused(
                "a directory has its name among the backups, and a number makes it too long".into(),
            ),
            false => Cause::NameTooLong,
        };
        Error::new(Operation::Backup, self.path(), cause)
    }

    /// `--fsync`: the backup's name is on stable storage before the old name goes.
    fn flush(&self, within: &OwnedFd) -> Result<()> {
        if !self.run.config.fsync {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(within, c".", flags, Mode::empty()).map(Arc::new);
        let directory = opened.at(Operation::Backup, || self.path())?;
        let stat = stat_open(&directory).at(Operation::Backup, || self.path())?;
        self.run.file_systems.add(&directory, &stat);
        flush_directory_now(&directory, self.run, || self.path())
    }

    /// Where the backup goes. `None`: none is to be made.
    fn place(&self) -> Result<Option<BackupPlace<'_>>> {
        let Some(backups) = &self.run.backups else { return Ok(None) };
        let within = match &backups.tree {
            None => self.within.clone(),
            Some(tree) => tree.directory(self, backups)?,
        };
        let in_open = match &backups.tree {
            Some(tree) => tree.is_open(&within).at(Operation::Backup, || self.path())?,
            None => false,
        };
        Ok(Some(BackupPlace { backups, within, in_open }))
    }

    /// Whether the source has a name in the entry's directory. What can't be looked up may be there.
    fn source_has(&self, name: &CStr) -> bool {
        let roots = &self.run.roots;
        if let Some(single) = &roots.single {
            return *single.destination == *name;
        }
        if let Some(several) = roots.several.as_ref().filter(|_| self.directory.as_os_str().is_empty()) {
            return several.has(name);
        }
        let found = match (self.source, &roots.source.fd) {
            (Some(source), _) => {
                rustix::fs::statx(source, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE).map(drop)
            }
            (None, Some(root)) => {
                let path = self.directory.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
                open_entry(root, path.as_os_str().as_bytes()).map(drop)
            }
            (None, None) => return false,
        };
        !matches!(found, Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG))
    }
}

/// The directory that a backup goes to.
struct BackupPlace<'a> {
    backups: &'a Backups,
    within: Arc<OwnedFd>,
    /// Others may get into it who may not into the entry's own.
    in_open: bool,
}

impl BackupPlace<'_> {
    /// Gives a backup the first name that it may have. `free` gives it a name that nothing has, `replace` that of an older
    /// backup. One more name of the entry itself is its backup already, unless it is copied since it is rewritten.
    fn give_name(
        &self,
        old: &Old<'_>,
        by_link: bool,
        free: impl Fn(&CStr) -> rustix::io::Result<()>,
        replace: impl Fn(&CStr) -> rustix::io::Result<()>,
    ) -> rustix::io::Result<()> {
        let (bytes, suffix) = (old.name.to_bytes(), &self.backups.suffix);
        let mut claims = self.backups.claims.hold(stat_open(&self.within)?.inode);
        let is_taken = |name: &CStr| self.backups.tree.is_none() && old.source_has(name);
        let name = plain(bytes, suffix)?;
        if !claims.has(&name) && !is_taken(&name) {
            match free(&name) {
                Err(Errno::EXIST) if by_link && self.has(&name, old) => return Ok(()),
                // An older backup of another user's: the owner of the directory may have renamed it, to have it lost.
                Err(Errno::EXIST) if !self.has_owner_of(&name, old) => {}
                Err(Errno::EXIST) => match replace(&name) {
                    // A directory, or something is mounted there.
                    Err(Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY | Errno::BUSY) => {}
                    replaced => return replaced,
                },
                given => return given,
            }
        }
        for number in 1.. {
            let name: CString = numbered(bytes, suffix, number)?;
            if is_taken(&name) {
                continue;
            }
            match free(&name) {
                Err(Errno::EXIST) if by_link && self.has(&name, old) => {}
                Err(Errno::EXIST) => continue,
                given => given?,
            }
            claims.add(&name);
            return Ok(());
        }
        Err(Errno::EXIST)
    }

    /// Whether a name is one more of the entry that is to be kept.
    fn has(&self, name: &CStr, old: &Old<'_>) -> bool {
        let inode = |within: &OwnedFd, name: &CStr| stat_name(within, name).map(|stat| stat.inode);
        let found = inode(&self.within, name);
        found.is_some() && found == inode(old.within, old.name)
    }

    /// Whether what has a name belongs to the owner of the entry that is to be kept.
    fn has_owner_of(&self, name: &CStr, old: &Old<'_>) -> bool {
        let owner = |within: &OwnedFd, name: &CStr| stat_name(within, name).map(|stat| stat.uid);
        owner(&self.within, name) == owner(old.within, old.name)
    }
}

fn stat_name(within: &OwnedFd, name: &CStr) -> Option<Stat> {
    let stat = rustix::fs::statx(within, name, AtFlags::SYMLINK_NOFOLLOW, Stat::FIELDS);
    stat.ok().map(|stat| Stat::from(&stat))
}

/// Renames; rename(2) does nothing, and says nothing, where both names are the same inode already.
fn take_place(within: &OwnedFd, temporary: &CStr, name: &CStr) -> rustix::io::Result<()> {
    let renamed = rustix::fs::renameat(within, temporary, within, name);
    rustix::fs::unlinkat(within, temporary, AtFlags::empty()).ok();
    renamed
}
