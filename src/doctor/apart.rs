//! SRC and DST that are one, or lie inside each other, which `sync` refuses.

use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::bail;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::doctor::place::{Place, open};
use ringsync::Escaped;

/// A file's device and inode.
type Inode = (u64, u64);

/// Refuses what `sync` refuses, in its words. Returns whether DST lies inside SRC on another file system, which
/// `--one-file-system` leaves out.
///
/// # Errors
/// When they are not apart, or can't be opened.
pub(super) fn require_apart(source: &Place, destination: &Place) -> anyhow::Result<bool> {
    let refused = |why: &str| format!("use destination {}: {why}", Escaped::path(&destination.path));
    if !source.is_directory {
        if is_same_file(source, destination) {
            bail!(refused("SRC and DST are the same file"));
        }
        return Ok(false);
    }
    let (from, to) = (ways_up(&source.used)?, ways_up(&destination.used)?);
    let (Some(top), Some(below)) = (from.first(), to.first()) else { return Ok(false) };
    if top == below && destination.missing == 0 {
        bail!(refused("SRC and DST are the same directory"));
    }
    if to.contains(top) {
        if source.number != destination.number {
            return Ok(true);
        }
        bail!(refused(
            "DST lies inside SRC, and would be copied into itself. Leave it out with --exclude, or with -x if it is on \
             another file system"
        ));
    }
    if destination.missing == 0 && from.contains(below) {
        bail!(refused("SRC lies inside DST"));
    }
    Ok(false)
}

/// A directory and those above it, to the root.
fn ways_up(path: &Path) -> std::io::Result<Vec<Inode>> {
    let mut held = open(path)?;
    let mut ways = vec![inode(&held)?];
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // What can't be entered ends the way.
    while let Ok(above) = rustix::fs::openat(&held, "..", flags, Mode::empty()) {
        let found = inode(&above)?;
        if ways.last() == Some(&found) {
            break;
        }
        ways.push(found);
        held = above;
    }
    Ok(ways)
}

fn inode(held: &OwnedFd) -> std::io::Result<Inode> {
    let stat = rustix::fs::fstat(held)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Whether the file would be copied to its own name. Two names of one inode are two files.
fn is_same_file(source: &Place, destination: &Place) -> bool {
    let Some(name) = source.used.file_name() else { return false };
    let into = match destination.used == destination.path {
        true => destination.path.join(name),
        false => destination.path.clone(),
    };
    let place = |path: &Path| {
        let parent =
            rustix::fs::statat(CWD, path.parent().filter(|parent| *parent != "")?, AtFlags::empty()).ok()?;
        Some((parent.st_dev, parent.st_ino, path.file_name()?.to_owned()))
    };
    let absolute = |path: &Path| std::path::absolute(path).ok().and_then(|path| place(&path));
    let exists = rustix::fs::lstat(&into).is_ok();
    exists && absolute(&source.used).is_some_and(|from| absolute(&into) == Some(from))
}
