//! Symlinks, FIFOs, sockets and device nodes: made under a temporary name, completed there, and renamed. They have no
//! descriptor from the beginning, so that what is completed is found again by its name. Where others may write to the
//! directory they could have put a node of somebody else's there, which would then be given away: nodes are made in a
//! directory of their own, which nobody else can enter. A symlink gives nobody anything.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{Access, AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::engine::entry::item::Item;
use crate::engine::own::writable::writable;
use crate::engine::own::{directory, litter, shed, trial};
use crate::engine::state::copied::Copied;
use crate::error::{Cause, Context, Error, NotKept, Operation, Property, Result};
use crate::event::{Kind, PointsTo};
use crate::io::rename::{Taken, take_place};
use crate::metadata::{self, Applied, HeldInode, Target, Wanted};
use crate::stat::{Stat, Time, stat_open};

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
    let within = item.changing()?;
    let create = |within: &OwnedFd, name: &CStr| rustix::fs::symlinkat(&points_to, within, name);
    again(|| match temporary_name(item, within, taken)? {
        Some(temporary) => make(item, stat, (within, &temporary), Some(taken), create),
        None => make(item, stat, (within, item.target()), None, create),
    })
}

/// Makes a FIFO, a socket or a device node.
pub(crate) fn make_node(item: &Item<'_>, stat: &Stat, taken: Taken) -> Result<Copied> {
    again(|| make_privately(item, stat, taken))
}

/// A temporary name in a directory; `None` where nothing can be renamed, and what is new is to get its own name at once.
fn temporary_name(item: &Item<'_>, within: &OwnedFd, taken: Taken) -> Result<Option<CString>> {
    match item.run().temporary.new_name(within) {
        Err(Errno::PERM) if taken == Taken::Nothing => Ok(None),
        name => name.map(Some).at(Operation::Create, || item.path()),
    }
}

fn make_privately(item: &Item<'_>, stat: &Stat, taken: Taken) -> Result<Copied> {
    let within = item.changing()?;
    let device = rustix::fs::makedev(stat.device_node.0, stat.device_node.1);
    let mode = Mode::RUSR | Mode::WUSR;
    let create = |within: &OwnedFd, name: &CStr| {
        rustix::fs::mknodat(within, name, stat.kind.file_type(), mode, device)
    };
    let Some(temporary) = temporary_name(item, within, taken)? else {
        // Nobody can exchange it there.
        return make(item, stat, (within, item.target()), None, create);
    };
    let private = directory::make(within, &temporary, item.run());
    let private = private.at(Operation::Create, || item.path())?;
    let made = make(item, stat, (&private, item.target()), Some(taken), create);
    litter::remove_directory(within, &temporary, item.run());
    made
}

/// Nothing locks a symlink: another run that comes to this directory now takes its temporary name for litter, and a new
/// directory until it is locked. Then the entry is made again.
const ATTEMPTS: usize = 4;

fn again(make: impl Fn() -> Result<Copied>) -> Result<Copied> {
    for _ in 1..ATTEMPTS {
        match make() {
            Err(error) if error.errno() == Some(Errno::NOENT) => {}
            made => return made,
        }
    }
    make()
}

/// Makes an entry at a place of its own, completes it there, and moves it to the item's name; without `taken` that is its
/// place already.
fn make(
    item: &Item<'_>,
    stat: &Stat,
    (home, name): (&OwnedFd, &CStr),
    taken: Option<Taken>,
    create: impl Fn(&OwnedFd, &CStr) -> rustix::io::Result<()>,
) -> Result<Copied> {
    if let Err(errno) = writable(home, item.run(), || create(home, name)) {
        if taken.is_some() {
            // exFAT's program makes a file, and the kernel then finds that it is none of what it asked for.
            rustix::fs::unlinkat(home, name, AtFlags::empty()).ok();
        }
        return Err(Error::new(Operation::Create, item.path(), refusal(item, stat, home, errno)));
    }
    let to = (&**item.changing()?, item.target());
    let completed = complete(item, stat, (home, name)).and_then(|applied| {
        let placed = taken.map_or(Ok(()), |taken| take_place((home, name), to, taken));
        placed.at(Operation::Rename, || item.path()).map(|()| applied)
    });
    if completed.is_err() {
        rustix::fs::unlinkat(home, name, AtFlags::empty()).ok();
    }
    completed.map(|applied| Copied::skipped().with(applied))
}

/// Why an entry can't be made: where its file system has none of its kind, with the option that leaves them out.
fn refusal(item: &Item<'_>, stat: &Stat, home: &OwnedFd, errno: Errno) -> Cause {
    match errno {
        Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL => {}
        // Servers and security modules say so of the kind, where the directory itself may be written to.
        Errno::ACCESS if may_write(home) => {}
        // A program behind FUSE made something else.
        Errno::IO if !item.pair.file_system.is_faithful => {}
        _ => return Cause::from(errno),
    }
    let (property, wanted) = match stat.kind {
        Kind::Symlink => (Property::Symlink, "a symlink".to_owned()),
        Kind::Fifo => (Property::Special, "a FIFO".to_owned()),
        Kind::Socket => (Property::Special, "a socket".to_owned()),
        _ => (Property::Device, format!("a device {}:{}", stat.device_node.0, stat.device_node.1)),
    };
    Cause::from(NotKept::refused(property, wanted, errno))
}

fn may_write(directory: &OwnedFd) -> bool {
    let wanted = Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::accessat(directory, c".", wanted, AtFlags::EACCESS).is_ok()
}

fn complete(item: &Item<'_>, want: &Stat, (home, name): (&OwnedFd, &CStr)) -> Result<Applied> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = rustix::fs::openat(home, name, flags, Mode::empty());
    let handle = handle.at(Operation::OpenDestination, || item.path())?;
    let have = stat_open(&handle).at(Operation::StatDestination, || item.path())?;
    // Nobody else should know the name of a symlink: another one that was put there is not given away.
    if have.kind != want.kind || have.links != 1 {
        return Err(Error::new(Operation::Create, item.path(), Cause::TypeChanged));
    }
    // Its own time is that of its making, which is not to be taken for the source's, however close.
    let have = Stat { modified: Time::NEVER, ..have };
    let keep = item.run().rules.keep.attributes();
    let xattrs = if keep { Some(item.source_xattrs(want, None)?) } else { None };
    let bare = !item.pair.inherits_acl();
    let inode = HeldInode::Handle(handle.as_fd());
    let sheds_acl = want.kind != Kind::Symlink && item.pair.sheds_inherited_acl(item.run());
    let acl = match sheds_acl {
        true => shed::acls(inode, &item.pair.file_system, || item.path())?,
        false => None,
    };
    let sure = item.pair.file_system.is_sure(want);
    let (want, lack) = trial::spare_target(item.place(), want, have.modified)?;
    let want = shed::tight(want, acl.as_ref());
    let wanted = Wanted { stat: &want, xattrs: xattrs.as_ref() };
    let target = Target { inode, have: &have, bare, sure, program: item.pair.file_system.is_program };
    let mut applied = metadata::apply(wanted, target, &item.run().rules, || item.path())?;
    applied.lacks.extend(lack.into_iter().chain(acl));
    Ok(applied)
}
