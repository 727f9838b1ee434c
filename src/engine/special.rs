//! Symlinks, FIFOs, sockets and device nodes: made under a temporary name, completed there, and renamed.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Mode};

use super::copy_file::Copied;
use super::item::Item;
use super::temporary::{Taken, take_place, temporary_name, writable};
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::io::stat_open;
use crate::metadata::{self, Target};
use crate::plan::entry::{Stat, Time};
use crate::report::event::PointsTo;

fn read_target(directory: &OwnedFd, name: &CStr) -> rustix::io::Result<CString> {
    rustix::fs::readlinkat(directory, name, Vec::with_capacity(256))
}

/// Whether the destination's symlink points where the source's does. One that can't be read does not.
pub(crate) fn same_target(item: &Item<'_>) -> bool {
    let source = source_target(item);
    let destination = item.within().ok().and_then(|within| read_target(within, item.target()).ok());
    source.ok().is_some_and(|target| Some(target) == destination)
}

/// Where the source's symlink points to.
pub(crate) fn source_target(item: &Item<'_>) -> Result<CString> {
    read_target(&item.pair.source, &item.entry.name).at(Operation::ReadLink, || item.source_path())
}

/// The same, for a report.
pub(crate) fn points_to(item: &Item<'_>) -> Result<PointsTo> {
    let target = source_target(item)?;
    Ok(PointsTo::Target(OsStr::from_bytes(target.to_bytes()).into()))
}

/// Makes a symlink.
pub(crate) fn make_symlink(item: &Item<'_>, stat: &Stat, taken: Taken) -> Result<Copied> {
    let points_to = source_target(item)?;
    make(item, stat, taken, |within, name| rustix::fs::symlinkat(&points_to, within, name))
}

/// Makes a FIFO, a socket or a device node.
pub(crate) fn make_node(item: &Item<'_>, stat: &Stat, taken: Taken) -> Result<Copied> {
    let device = rustix::fs::makedev(stat.device_node.0, stat.device_node.1);
    let mode = Mode::RUSR | Mode::WUSR;
    make(item, stat, taken, |within, name| {
        rustix::fs::mknodat(within, name, stat.kind.file_type(), mode, device)
    })
}

fn make(
    item: &Item<'_>,
    stat: &Stat,
    taken: Taken,
    create: impl Fn(&OwnedFd, &CStr) -> rustix::io::Result<()>,
) -> Result<Copied> {
    let within = item.changing()?;
    let temporary = temporary_name(within).at(Operation::Create, || item.path())?;
    writable(within, item.run(), || create(within, &temporary)).at(Operation::Create, || item.path())?;
    let completed = complete(item, stat, &temporary).and_then(|()| {
        take_place(within, &temporary, item.target(), taken).at(Operation::Rename, || item.path())
    });
    if completed.is_err() {
        rustix::fs::unlinkat(within, &temporary, AtFlags::empty()).ok();
    }
    completed.map(|()| Copied::skipped())
}

fn complete(item: &Item<'_>, want: &Stat, temporary: &CStr) -> Result<()> {
    let handle = item.handle(temporary)?;
    let have = stat_open(&handle).at(Operation::StatDestination, || item.path())?;
    // Nobody else should know the name; whoever put something else there must not have it given away by us.
    if have.kind != want.kind || have.links != 1 {
        return Err(Error::new(Operation::Create, item.path(), Cause::TypeChanged));
    }
    // Its own time is that of its making, which is not to be taken for the source's, however close.
    let have = Stat { modified: Time::NEVER, ..have };
    let keep = item.run().config.keep.xattrs;
    let xattrs = if keep { Some(item.source_xattrs(want, None)?) } else { None };
    let bare = !item.pair.inherits_acl();
    let target = Target::Handle(handle.as_fd());
    metadata::apply(target, want, &have, xattrs.as_ref(), bare, &item.run().rules, || item.path())?;
    Ok(())
}
