//! Opening a regular file to read it. To open a device already does something: it starts a watchdog, or
//! rewinds a tape. Where others may put one in the file's place after it was listed, the name is held and looked at first,
//! and only a regular file is opened. In directories that nobody else can write to, one system call does it.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::OFlags;

use crate::engine::run::lane::Lane;
use crate::error::{Cause, Result};
use crate::event::Kind;
use crate::io::file::File;
use crate::plan::writers::Writers;
use crate::stat::{Stat, stat_open};

/// Opens a regular file of a held directory. What is something else by now has changed its type.
pub(crate) async fn open(
    lane: &Lane,
    (directory, writers): (&Arc<OwnedFd>, Writers),
    name: &CStr,
    flags: OFlags,
) -> Result<(File, Stat), Cause> {
    let is_guarded = writers == Writers::Nobody;
    let first = if is_guarded { flags } else { OFlags::PATH };
    let mut file = Arc::new(lane.io.open(directory, name, first).await?);
    let stat = stat_open(&file)?;
    if stat.kind != Kind::File {
        return Err(Cause::TypeChanged);
    }
    if !is_guarded {
        file = Arc::new(lane.io.reopen(&file, flags).await?);
    }
    Ok((lane.io.file(file, &stat), stat))
}

/// Opens one that is held.
pub(crate) async fn reopen(lane: &Lane, held: &OwnedFd, flags: OFlags) -> Result<(File, Stat), Cause> {
    if stat_open(held)?.kind != Kind::File {
        return Err(Cause::TypeChanged);
    }
    let held = Arc::new(rustix::io::fcntl_dupfd_cloexec(held, 0)?);
    let file = Arc::new(lane.io.reopen(&held, flags).await?);
    let stat = stat_open(&file)?;
    Ok((lane.io.file(file, &stat), stat))
}
