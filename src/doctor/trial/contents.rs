//! What a file system does with contents: clones, holes, flags, and bringing them to the disk.

use rustix::fs::{IFlags, SeekFrom};
use rustix::io::Result;

use crate::doctor::finding::Found;
use crate::doctor::scratch::Scratch;

const FILE: &str = "file";
/// Whole blocks of any file system.
const SIZE: usize = 64 << 10;
/// Where data begins after a hole.
const HOLE: u64 = 1 << 20;

pub(super) fn clones(scratch: &Scratch) -> Result<Found> {
    let (from, to) = (scratch.file(FILE)?, scratch.file("clone")?);
    rustix::io::write(&from, &vec![b'x'; SIZE])?;
    rustix::fs::ioctl_ficlone(&to, &from)?;
    let size = rustix::fs::fstat(&to)?.st_size;
    Ok(Found::yes_if(size == SIZE as i64, "the clone is empty"))
}

pub(super) fn holes(scratch: &Scratch) -> Result<Found> {
    let file = scratch.file(FILE)?;
    rustix::io::pwrite(&file, b"data", HOLE)?;
    // Some allocate only then.
    rustix::fs::fsync(&file).ok();
    let stored = rustix::fs::fstat(&file)?.st_blocks as u64 * 512;
    if stored >= HOLE {
        return Ok(Found::No("they are filled with zeros on the disk".into()));
    }
    let is_shown = rustix::fs::seek(&file, SeekFrom::Hole(0)).is_ok_and(|start| start == 0);
    Ok(if is_shown { Found::Yes } else { Found::Text("yes, but it does not tell where".into()) })
}

/// btrfs's `chattr +C`, for databases and images of disks.
pub(super) fn no_cow(scratch: &Scratch) -> Result<Found> {
    let file = scratch.file(FILE)?;
    let flags = rustix::fs::ioctl_getflags(&file)?;
    rustix::fs::ioctl_setflags(&file, flags | IFlags::NOCOW)?;
    let is_set = rustix::fs::ioctl_getflags(&file)?.contains(IFlags::NOCOW);
    Ok(Found::yes_if(is_set, "it is accepted, but not there afterwards"))
}

pub(super) fn sync_file(scratch: &Scratch) -> Result<Found> {
    let file = scratch.file(FILE)?;
    rustix::io::write(&file, b"x")?;
    rustix::fs::fsync(&file).map(|()| Found::Yes)
}

pub(super) fn sync_directory(scratch: &Scratch) -> Result<Found> {
    scratch.file(FILE)?;
    rustix::fs::fsync(scratch).map(|()| Found::Yes)
}

pub(super) fn sync_all(scratch: &Scratch) -> Result<Found> {
    rustix::fs::syncfs(scratch).map(|()| Found::Yes)
}
