//! What lies in a tree of a store. It is gone through from its top, which is held: whatever is exchanged meanwhile, no symlink
//! leads out of it.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Context, Error, Operation, Result};
use crate::event::Kind;
use crate::io::path::open_to_list;
use crate::stat::{Stat, stat_open};
use crate::stop::Stop;

/// Holds the top of a tree.
pub(crate) fn hold(tree: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, tree, flags, Mode::empty())
}

/// Hands on what is in a tree, its top excepted. Where `each` says no, a directory is not entered. Stops early if it is told to.
pub(crate) fn walk(
    tree: &Path,
    stop: &Stop,
    mut each: impl FnMut(&Stat) -> bool,
    mut failed: impl FnMut(Error),
) {
    let top = match hold(tree).at(Operation::ListDirectory, || tree) {
        Ok(top) => top,
        Err(error) => return failed(error),
    };
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop().filter(|_| !stop.is_stopped()) {
        let listed = list(&top, &directory, &mut |name, stat| {
            if each(stat) && stat.kind == Kind::Directory {
                directories.push(directory.join(OsStr::from_bytes(name)));
            }
        });
        if let Err(errno) = listed {
            failed(Error::new(Operation::ListDirectory, tree.join(&directory), errno));
        }
    }
}

fn list(top: impl AsFd, directory: &Path, each: &mut dyn FnMut(&[u8], &Stat)) -> rustix::io::Result<()> {
    let held = open_to_list(top, directory.as_os_str().as_bytes())?;
    for entry in Dir::read_from(&held)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match rustix::fs::statat(&held, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {} // it has gone meanwhile
            stat => each(name.to_bytes(), &Stat::from(&stat?)),
        }
    }
    Ok(())
}

/// The stat of a tree's top.
pub(crate) fn top(tree: &Path) -> Result<Stat> {
    hold(tree).and_then(stat_open).at(Operation::StatSource, || tree)
}
