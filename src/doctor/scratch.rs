//! The directory in which things are tried. It is made with an unpredictable name, and used by its descriptor alone.
//!
//! Somebody else who may write to DST can put another directory in its place before it is opened, or add to it. For this reason
//! each name is made with `O_EXCL` or its like, and only names that were made here are removed: never all that is found.

use std::cell::RefCell;
use std::io;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::{Errno, Result};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

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
}

pub(crate) struct Scratch {
    parent: OwnedFd,
    name: String,
    directory: OwnedFd,
    /// Names made in it, and whether they are directories.
    made: RefCell<Vec<(Vec<u8>, bool)>>,
    pub(crate) user: User,
}

impl Scratch {
    /// Makes it in `parent`, for this user alone.
    pub(crate) fn make(parent: OwnedFd, user: User) -> io::Result<Scratch> {
        let mut random = [0_u8; 16];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let name = format!("{PREFIX}{:032x}", u128::from_ne_bytes(random));
        rustix::fs::mkdirat(&parent, &name, Mode::RWXU)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&parent, &name, flags, Mode::empty()) {
            Ok(directory) => Ok(Scratch { parent, name, directory, made: RefCell::default(), user }),
            Err(errno) => {
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

    /// What a name is now. Never what a symlink leads to.
    pub(crate) fn stat(&self, name: impl AsRef<[u8]>) -> Result<Stat> {
        rustix::fs::statat(self, name.as_ref(), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// The permission bits that a name has now.
    pub(crate) fn mode(&self, name: &str) -> Result<u32> {
        Ok(self.stat(name)?.st_mode & 0o7777)
    }

    pub(crate) fn kind(&self, name: &str) -> Result<FileType> {
        Ok(FileType::from_raw_mode(self.stat(name)?.st_mode))
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

impl AsFd for Scratch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd()
    }
}
