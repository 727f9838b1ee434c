//! Files of rules in directories.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Cause, Result};
use crate::event::Kind;
use crate::stat::{proc_path, stat_open};

/// A file of rules of more bytes is taken for something else.
const LARGEST_FILE: u64 = 4 << 20;

/// Reads a small file of a directory; never through a symlink, which may lead anywhere. `None`: it is not there.
pub(crate) fn read(directory: impl AsFd, name: &OsStr) -> Result<Option<Vec<u8>>, Cause> {
    let hold = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let held = match rustix::fs::openat(directory, name, hold, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    match stat_open(&held)?.kind {
        Kind::File => {}
        Kind::Symlink => return Err(Errno::LOOP.into()),
        // To open a device would already do something to it.
        _ => return Err(Cause::Refused("it is no regular file".into())),
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(proc_path(&held), flags, Mode::empty())?);
    let mut text = Vec::new();
    file.take(LARGEST_FILE + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LARGEST_FILE {
        return Err(Cause::Refused(format!("it has more than {LARGEST_FILE} bytes")));
    }
    Ok(Some(text))
}
