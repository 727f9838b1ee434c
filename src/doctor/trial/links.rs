//! Links, special files, and what names can go through.

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Result;
use std::os::fd::AsRawFd;

use crate::doctor::finding::Found;
use crate::doctor::scratch::Scratch;

const FILE: &str = "file";
const OTHER: &str = "other";
const CHANGED: &str = "it is something else afterwards";

pub(super) fn hard_links(scratch: &Scratch) -> Result<Found> {
    let file = scratch.file(FILE)?;
    rustix::io::write(&file, b"x")?;
    // A cache that keeps what is written gives the second name the size that the server knows.
    rustix::fs::fsync(&file).ok();
    scratch.making(OTHER, rustix::fs::linkat(scratch, FILE, scratch, OTHER, AtFlags::empty()))?;
    // Programs behind FUSE may give each name an inode number of its own, and count one name: only contents tell.
    rustix::io::pwrite(&file, b"y", 0)?;
    rustix::fs::fsync(&file).ok();
    let Some(other) = scratch.reopen(OTHER)? else { return Ok(Found::No(CHANGED.into())) };
    let mut found = [0_u8];
    rustix::io::read(&other, &mut found)?;
    Ok(Found::yes_if(found == *b"y", "the two names are two files"))
}

pub(super) fn symlinks(scratch: &Scratch) -> Result<Found> {
    let target = "no/such file";
    scratch.making(FILE, rustix::fs::symlinkat(target, scratch, FILE))?;
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
    scratch.making(name, rustix::fs::mknodat(scratch, name, kind, Mode::RUSR | Mode::WUSR, device))?;
    let stat = scratch.stat(name)?;
    let is_device = rustix::fs::makedev(stat.stx_rdev_major, stat.stx_rdev_minor) == device;
    Ok(Found::yes_if(scratch.kind(name)? == kind && is_device, CHANGED))
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
    let is_new = scratch.stat(OTHER)?.stx_size == 1 && !scratch.has(FILE)?;
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
    let is_exchanged = scratch.stat(FILE)?.stx_size == 0 && scratch.stat(OTHER)?.stx_size == 1;
    Ok(Found::yes_if(is_exchanged, "the names are as before"))
}

/// A file of one byte, and an empty one.
fn two(scratch: &Scratch) -> Result<()> {
    let file = scratch.file(FILE)?;
    rustix::io::write(&file, b"x")?;
    scratch.file(OTHER)?;
    Ok(())
}
