//! A directory that gives way to something that is no directory. Its successor is made in a directory of its own beside
//! it, under the name that it is to get, and exchanged with it when it is whole: at every instant the name holds the
//! one or the other. What was set aside then lies under its own name in that directory, `.replaced-by-ringsync-` and 32
//! hex digits (io/temporary.rs), until it is removed, or gets its place back.
//!
//! After a kill that directory holds the successor, which is litter, or what was replaced, which is the user's: a later
//! run deletes the one, and deletes or backs up the other, as an extra entry with the path it had, under `--delete` alone.
//! Only a directory of the run's own user that nobody else may enter, and that has the sticky bit, is taken for one of
//! these.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::engine::Run;
use crate::engine::own::directory;
use crate::engine::own::set_aside::clear;
use crate::io::rename::{exchange, lacks_exchange, rename_free};
use crate::stat::{Inode, Stat, proc_path, stat_open};

/// How often one is tried to be made, while another run takes it for litter before it is locked.
const ATTEMPTS: usize = 8;

/// A directory beside an entry, for its successor.
pub(crate) struct Aside {
    within: Arc<OwnedFd>,
    pub(crate) name: CString,
    /// Held, and locked, so that no other run takes it for litter.
    pub(crate) fd: Arc<OwnedFd>,
    pub(crate) inode: Inode,
}

impl Aside {
    pub(crate) fn make(within: &Arc<OwnedFd>, run: &Run) -> rustix::io::Result<Self> {
        let make = || {
            let name = run.temporary.aside_name(within)?;
            Ok((directory::make(within, &name, run)?, name))
        };
        let mut made = make();
        for _ in 1..ATTEMPTS {
            match made {
                Err(Errno::EXIST | Errno::NOENT) => made = make(),
                _ => break,
            }
        }
        let (fd, name) = made?;
        let inode = stat_open(&fd)?.inode;
        Ok(Aside { within: within.clone(), name, fd: Arc::new(fd), inode })
    }

    /// Exchanges the directory that has the successor's name with the successor.
    pub(crate) fn exchange(&self, target: &CStr, run: &Run) -> rustix::io::Result<()> {
        match self.try_exchange(target) {
            // Only root may move a directory elsewhere that it may not write to.
            Err(Errno::ACCESS) if !run.rules.privileges.root => {
                let (directory, mode) = self.open_up(target)?;
                self.try_exchange(target).inspect_err(|_| set_mode(&directory, mode))
            }
            exchanged => exchanged,
        }
    }

    fn try_exchange(&self, target: &CStr) -> rustix::io::Result<()> {
        match exchange(&self.fd, target, &self.within, target) {
            Err(errno) if lacks_exchange(errno) => {
                // For a moment the name holds nothing.
                self.swap(&self.within, target, &self.fd)
            }
            exchanged => exchanged,
        }
    }

    /// Gives what was set aside its name back, and takes the successor. `judged` is the directory that was to go, and
    /// the mode it had: it gets that again. Nothing else does, for somebody may have put another one in its place.
    pub(crate) fn put_back(&self, target: &CStr, judged: (Inode, u32)) -> rustix::io::Result<()> {
        let old = hold(&self.fd, target).ok();
        match exchange(&self.fd, target, &self.within, target) {
            Err(errno) if lacks_exchange(errno) => self.swap(&self.fd, target, &self.within)?,
            exchanged => exchanged?,
        }
        let (inode, mode) = judged;
        if let Some(old) = old.filter(|old| stat_open(old).is_ok_and(|stat| stat.inode == inode)) {
            set_mode(&old, mode);
        }
        Ok(())
    }

    /// Puts the directory, which is in `from`, where its successor is, and that one there, rename after rename.
    fn swap(&self, from: &OwnedFd, target: &CStr, to: &OwnedFd) -> rustix::io::Result<()> {
        let spare = if target == c"new" { c"new too" } else { c"new" };
        rustix::fs::renameat(to, target, &self.fd, spare)?;
        let back = || rename_free(&self.fd, spare, to, target).ok();
        rename_free(from, target, to, target).inspect_err(|_| {
            back();
        })?;
        rename_free(&self.fd, spare, from, target).inspect_err(|_| {
            if rename_free(to, target, from, target).is_ok() {
                back();
            }
        })
    }

    /// Puts the successor in the place of a directory that has been removed.
    pub(crate) fn place(&self, target: &CStr) -> rustix::io::Result<()> {
        rename_free(&self.fd, target, &self.within, target)
    }

    /// What was set aside.
    pub(crate) fn old(&self, target: &CStr) -> rustix::io::Result<Inode> {
        let found = rustix::fs::statx(&self.fd, target, AtFlags::SYMLINK_NOFOLLOW, Stat::FIELDS)?;
        Ok(Stat::from(&found).inode)
    }

    /// Removes the successor, and this directory if nothing else is in it.
    pub(crate) fn discard(&self) {
        clear(&self.within, &self.name, &self.fd);
    }

    /// Lets its owner write to a directory. Returns it, and the mode it had.
    fn open_up(&self, target: &CStr) -> rustix::io::Result<(OwnedFd, u32)> {
        let directory = hold(&self.within, target)?;
        let mode = stat_open(&directory)?.mode;
        let wider = Mode::from_raw_mode(mode) | Mode::RWXU;
        rustix::fs::chmodat(CWD, proc_path(&directory), wider, AtFlags::empty())?;
        Ok((directory, mode))
    }
}

/// Holds a directory by its name, also where it can't be listed.
fn hold(within: &OwnedFd, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(within, name, flags, Mode::empty())
}

fn set_mode(directory: &OwnedFd, mode: u32) {
    if stat_open(directory).is_ok_and(|stat| stat.mode != mode) {
        rustix::fs::chmodat(CWD, proc_path(directory), Mode::from_raw_mode(mode), AtFlags::empty()).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(path: &std::path::Path) -> Arc<OwnedFd> {
        Arc::new(rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap())
    }

    /// Where there is no exchange: two renames, forth and back, and back if the second one fails.
    #[test]
    fn a_swap_puts_each_in_the_place_of_the_other() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        std::fs::create_dir_all(at("aside")).unwrap();
        std::fs::create_dir_all(at("name/below")).unwrap();
        std::fs::write(at("aside/name"), "successor").unwrap();
        let (within, fd) = (held(home.path()), held(&at("aside")));
        let inode = stat_open(&fd).unwrap().inode;
        let aside = Aside { within, name: c"aside".into(), fd, inode };
        aside.swap(&aside.within, c"name", &aside.fd).unwrap();
        assert!(at("name").is_file() && at("aside/name/below").is_dir());
        aside.swap(&aside.fd, c"name", &aside.within).unwrap();
        assert!(at("aside/name").is_file() && at("name/below").is_dir());
        std::fs::rename(at("name"), at("elsewhere")).unwrap();
        assert_eq!(aside.swap(&aside.within, c"name", &aside.fd), Err(Errno::NOENT));
        assert!(at("aside/name").is_file() && !at("aside/new").exists());
        aside.discard();
        assert!(!at("aside").exists());
    }

    /// Somebody may have put a private directory where the judged one was.
    #[test]
    fn only_the_judged_directory_gets_its_mode_back() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        std::fs::create_dir_all(at("aside/name")).unwrap();
        std::fs::set_permissions(at("aside/name"), std::fs::Permissions::from_mode(0o700)).unwrap();
        std::fs::write(at("name"), "successor").unwrap();
        let (within, fd) = (held(home.path()), held(&at("aside")));
        let inode = stat_open(&fd).unwrap().inode;
        let aside = Aside { within, name: c"aside".into(), fd, inode };
        let found = aside.old(c"name").unwrap();
        let mode = || std::fs::metadata(at("name")).unwrap().permissions().mode() & 0o777;
        aside.put_back(c"name", (inode, 0o777)).unwrap();
        assert_eq!(mode(), 0o700, "it is another one");
        exchange(&aside.fd, c"name", &aside.within, c"name").unwrap();
        aside.put_back(c"name", (found, 0o777)).unwrap();
        assert_eq!(mode(), 0o777);
    }
}
