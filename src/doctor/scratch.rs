//! The directory in which things are tried. It is made with an unpredictable name, and used by its descriptor alone.
//!
//! Somebody else who may write to DST can put another directory in its place before it is opened. So it is looked at before
//! anything is made in it (`whose.rs`). Where a file system pretends owners and modes, others may add to it all the same. For
//! this reason each name is made with `O_EXCL` or its like, only names that were made here are removed, never all that is
//! found, and what is opened by its name is never waited for.

use std::cell::RefCell;
use std::io;

use ringsync::Frozen;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Statx, StatxAttributes, StatxFlags};
use rustix::io::{Errno, Result};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::doctor::whose::{Refused, require_ours};

/// What the name starts with.
pub(crate) const PREFIX: &str = ".ringsync-doctor-";

/// Who tries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct User {
    pub(crate) is_root: bool,
    /// Whether they see `trusted.*` attributes.
    pub(crate) has_trusted: bool,
    /// Another user, and another group, to give a file to.
    pub(crate) others: (Option<u32>, Option<u32>),
    /// A user who has no number in this user namespace.
    pub(crate) unmapped: Option<u32>,
}

pub(crate) struct Scratch {
    parent: OwnedFd,
    name: String,
    directory: OwnedFd,
    /// Nobody else can enter it: it is this user's, and shows a mode that says so.
    pub(crate) is_private: bool,
    /// Names made in it, and whether they are directories.
    made: RefCell<Vec<(Vec<u8>, bool)>>,
    pub(crate) user: User,
}

impl Scratch {
    /// Makes it in `parent`, for this user alone.
    pub(crate) fn make(parent: OwnedFd, user: User) -> io::Result<Scratch> {
        if let Some(how) = frozen(&parent)? {
            return Err(io::Error::other(format!("it is {how}: nothing was tried"))); // what is made could not be removed
        }
        let mut random = [0_u8; 16];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let name = format!("{PREFIX}{:032x}", u128::from_ne_bytes(random));
        rustix::fs::mkdirat(&parent, &name, Mode::RWXU)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&parent, &name, flags, Mode::empty());
        let judged = opened.map_err(Refused::from).and_then(|held| Ok((require_ours(&parent, &held)?, held)));
        match judged {
            Ok((is_private, directory)) => {
                Ok(Scratch { parent, name, directory, is_private, made: RefCell::default(), user })
            }
            Err(Refused::Exchanged) => Err(io::Error::other(format!(
                "somebody else has put a directory of theirs in the place of {name}, which was just made: nothing was tried"
            ))),
            Err(Refused::Error(errno)) => {
                rustix::fs::unlinkat(&parent, &name, AtFlags::REMOVEDIR)?;
                Err(errno.into())
            }
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// A new empty file.
    pub(crate) fn file(&self, name: impl AsRef<[u8]>) -> Result<OwnedFd> {
        let name = name.as_ref();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self, name, flags, Mode::RUSR | Mode::WUSR)?;
        self.mark_made(name);
        Ok(file)
    }

    /// A new directory.
    pub(crate) fn directory(&self, name: &str) -> Result<()> {
        rustix::fs::mkdirat(self, name, Mode::RWXU)?;
        self.made.borrow_mut().push((name.into(), true));
        Ok(())
    }

    /// Says that a trial has made this name, so that it is removed.
    pub(crate) fn mark_made(&self, name: impl AsRef<[u8]>) {
        self.made.borrow_mut().push((name.as_ref().to_vec(), false));
    }

    /// The same, after a call that was to make it. With EIO a program behind FUSE may have made something else.
    pub(crate) fn making(&self, name: &str, made: Result<()>) -> Result<()> {
        if matches!(made, Ok(()) | Err(Errno::IO)) {
            self.mark_made(name);
        }
        made
    }

    /// What a name is now, whatever the kernel remembers of it. Never what a symlink leads to.
    pub(crate) fn stat(&self, name: impl AsRef<[u8]>) -> Result<Statx> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_FORCE_SYNC;
        rustix::fs::statx(self, name.as_ref(), flags, StatxFlags::BASIC_STATS)
    }

    /// The permission bits that a name has now.
    pub(crate) fn mode(&self, name: &str) -> Result<u32> {
        Ok(u32::from(self.stat(name)?.stx_mode) & 0o7777)
    }

    pub(crate) fn kind(&self, name: &str) -> Result<FileType> {
        Ok(FileType::from_raw_mode(self.stat(name)?.stx_mode.into()))
    }

    /// Opens a file that was made here, to read it. `None`: it is no file any more.
    pub(crate) fn reopen(&self, name: &str) -> Result<Option<OwnedFd>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(self, name, flags, Mode::empty())?;
        let is_file = FileType::from_raw_mode(rustix::fs::fstat(&opened)?.st_mode).is_file();
        Ok(is_file.then_some(opened))
    }

    /// Whether this name leads to something.
    pub(crate) fn has(&self, name: impl AsRef<[u8]>) -> Result<bool> {
        match self.stat(name) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT | Errno::INVAL | Errno::ILSEQ) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Whether exactly this name is in the list of the directory.
    pub(crate) fn lists(&self, name: impl AsRef<[u8]>) -> Result<bool> {
        let entries = rustix::fs::Dir::read_from(self)?;
        for entry in entries {
            if entry?.file_name().to_bytes() == name.as_ref() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes what trials have made.
    pub(crate) fn clear(&self) -> Result<()> {
        let made = self.made.take();
        let mut refusal = None;
        for (name, is_directory) in made.into_iter().rev() {
            let flags = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            match rustix::fs::unlinkat(self, &name[..], flags) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => {
                    refusal = Some(errno);
                    self.made.borrow_mut().push((name, is_directory));
                }
            }
        }
        refusal.map_or(Ok(()), Err)
    }

    /// Removes all of it.
    pub(crate) fn remove(self) -> Result<()> {
        let cleared = self.clear();
        drop(self.directory); // some servers keep what is open under another name
        rustix::fs::unlinkat(&self.parent, &self.name, AtFlags::REMOVEDIR)?;
        cleared
    }
}

/// How chattr(1) has closed a directory to changes, if it has.
fn frozen(directory: &OwnedFd) -> Result<Option<Frozen>> {
    let found = rustix::fs::statx(directory, c"", AtFlags::EMPTY_PATH, StatxFlags::TYPE)?.stx_attributes;
    let closed =
        [(StatxAttributes::IMMUTABLE, Frozen::Immutable), (StatxAttributes::APPEND, Frozen::AppendOnly)];
    Ok(closed.into_iter().find(|(flag, _)| found.contains(*flag)).map(|(_, how)| how))
}

impl AsFd for Scratch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd()
    }
}
