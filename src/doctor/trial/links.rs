//! Links, special files, and what names can go through.

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Result;
use std::os::fd::AsRawFd;

use crate::doctor::finding::Found;
use crate::doctor::scratch::Scratch;

const FILE: &str = "file";
const OTHER: &str = "other";

pub(super) fn hard_links(scratch: &Scratch) -> Result<Found> {
    scratch.file(FILE)?;
    rustix::fs::linkat(scratch, FILE, scratch, OTHER, AtFlags::empty())?;
    scratch.mark_made(OTHER);
    let (one, other) = (scratch.stat(FILE)?, scratch.stat(OTHER)?);
    Ok(match () {
        () if one.st_ino != other.st_ino => Found::No("the two names have different inode numbers".into()),
        () if one.st_nlink != 2 => Found::No(format!("a file with two names says it has {}", one.st_nlink)),
        () => Found::Yes,
    })
}

pub(super) fn symlinks(scratch: &Scratch) -> Result<Found> {
    let target = "no/such file";
    rustix::fs::symlinkat(target, scratch, FILE)?;
    scratch.mark_made(FILE);
    let found = rustix::fs::readlinkat(scratch, FILE, Vec::new())?;
    Ok(Found::yes_if(found.to_bytes() == target.as_bytes(), "the target is another one afterwards"))
}

pub(super) fn fifos(scratch: &Scratch) -> Result<Found> {
    let fifo = special(scratch, FILE, FileType::Fifo, 0)?;
    Ok(if fifo == Found::Yes { special(scratch, OTHER, FileType::Socket, 0)? } else { fifo })
}

/// The null device.
pub(super) fn devices(scratch: &Scratch) -> Result<Found> {
    if !scratch.user.is_root {
        return Ok(Found::Untried("only root makes them".into()));
    }
    special(scratch, FILE, FileType::CharacterDevice, rustix::fs::makedev(1, 3))
}

fn special(scratch: &Scratch, name: &str, kind: FileType, device: u64) -> Result<Found> {
    rustix::fs::mknodat(scratch, name, kind, Mode::RUSR | Mode::WUSR, device)?;
    scratch.mark_made(name);
    let is_same = scratch.kind(name)? == kind && scratch.stat(name)?.st_rdev == device;
    Ok(Found::yes_if(is_same, "it is something else afterwards"))
}

/// A file that gets its name when it is whole.
pub(super) fn nameless_files(scratch: &Scratch) -> Result<Found> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    let file = rustix::fs::openat(scratch, ".", flags, Mode::RUSR | Mode::WUSR)?;
    let held = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::linkat(CWD, held, scratch, FILE, AtFlags::SYMLINK_FOLLOW)?;
    scratch.mark_made(FILE);
    Ok(Found::yes_if(scratch.has(FILE)?, "its name is not there afterwards"))
}

pub(super) fn replace(scratch: &Scratch) -> Result<Found> {
    two(scratch)?;
    rustix::fs::renameat(scratch, FILE, scratch, OTHER)?;
    let is_new = scratch.stat(OTHER)?.st_size == 1 && !scratch.has(FILE)?;
    Ok(Found::yes_if(is_new, "the old file is still there afterwards"))
}

/// Renaming never replaces what somebody else has just made.
pub(super) fn no_replace(scratch: &Scratch) -> Result<Found> {
    scratch.file(FILE)?;
    rustix::fs::renameat_with(scratch, FILE, scratch, OTHER, RenameFlags::NOREPLACE)?;
    scratch.mark_made(OTHER);
    scratch.file(FILE)?;
    let replaced = rustix::fs::renameat_with(scratch, FILE, scratch, OTHER, RenameFlags::NOREPLACE).is_ok();
    Ok(Found::yes_if(!replaced, "it replaces what is there"))
}

pub(super) fn exchange(scratch: &Scratch) -> Result<Found> {
    two(scratch)?;
    rustix::fs::renameat_with(scratch, FILE, scratch, OTHER, RenameFlags::EXCHANGE)?;
    let is_exchanged = scratch.stat(FILE)?.st_size == 0 && scratch.stat(OTHER)?.st_size == 1;
    Ok(Found::yes_if(is_exchanged, "the names are as before"))
}

/// A file of one byte, and an empty one.
fn two(scratch: &Scratch) -> Result<()> {
    let file = scratch.file(FILE)?;
    rustix::io::write(&file, b"x")?;
    scratch.file(OTHER)?;
    Ok(())
}
