//! Metadata, read once and applied through descriptors in the one right order: owner, extended attributes and ACLs,
//! mode, times. chown(2) clears setuid bits and capabilities, an ACL rewrites the group bits, and every one of them
//! but the last may touch a time.

pub(crate) mod xattr;

use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid};
use rustix::io::Errno;

use crate::error::{Context, Operation, Result};
use crate::event::{Changes, Kind};
use crate::metadata::xattr::{Holder, Xattrs};
use crate::plan::compare::{Difference, differences, mode_to_give};
use crate::plan::narrow::narrowed;
use crate::plan::rules::Rules;
use crate::stat::{Stat, Time, proc_path};

/// An inode held by a descriptor, never by a path that could be swapped.
#[derive(Clone, Copy)]
pub(crate) enum HeldInode<'a> {
    /// Opened for reading or writing.
    Open(BorrowedFd<'a>),
    /// Opened with `O_PATH`: for what can't or shouldn't be opened (symlinks, FIFOs, devices, files without read
    /// permission). System calls without an `AT_EMPTY_PATH` form go through its link in /proc/self/fd.
    Handle(BorrowedFd<'a>),
}

/// Makes `target`, which has `have`, equal to the source's `want` and `xattrs` (`None`: leave attributes alone).
/// `fresh` says that the target was made by us and has no attributes of its own. Returns what was set.
pub(crate) fn apply<P: AsRef<Path>>(
    target: HeldInode<'_>,
    want: &Stat,
    have: &Stat,
    xattrs: Option<&Xattrs>,
    fresh: bool,
    rules: &Rules,
    path: impl Fn() -> P + Copy,
) -> Result<Changes> {
    let mut difference = differences(want, have, rules);
    set_owner(target, &difference, path)?;
    let mut changes = difference.changes(have);
    if let Some(xattrs) = xattrs.filter(|xattrs| !(fresh && xattrs.is_empty())) {
        let set = set_xattrs(target, xattrs, have, fresh, rules, path)?;
        (changes.acl, changes.xattrs) = (set.acl, set.xattrs);
        // An ACL may have changed the mode behind our back.
        if !set.is_empty() && want.kind != Kind::Symlink && difference.mode.is_none() {
            difference.mode = Some(mode_of(want, have, &difference, rules));
        }
    }
    let changes_hands = difference.owner.is_some_and(|(uid, _)| uid.is_some());
    if changes_hands && !fresh && want.kind != Kind::Symlink && difference.mode.is_none() {
        // The former owner may have changed it in the last moment.
        difference.mode = Some(mode_of(want, have, &difference, rules));
    }
    set_mode(target, &difference, path)?;
    // Setting anything above leaves mtime alone, so that it is set only where it differs.
    if difference.times {
        set_mtime(target, want.modified, path)?;
    }
    Ok(changes)
}

/// The stat of a source, whose attributes `holder` has, as the destination is to have it. Every stat of the source goes
/// through here, once. Where ACLs are not kept the group gets what its own entry grants: the mode has the ACL's mask in its
/// place (acl(5)), and that is often more.
pub(crate) fn adopt<P: AsRef<Path>>(
    source: Stat,
    holder: &Holder<'_>,
    rules: &Rules,
    path: impl FnOnce() -> P,
) -> Result<Stat> {
    let mask_may_show = !rules.keep.xattrs && source.kind != Kind::Symlink && source.mode & 0o070 != 0;
    let mode = match mask_may_show {
        true => xattr::mode_without_acl(holder, source.mode).at(Operation::ReadXattrs, path)?,
        false => source.mode,
    };
    Ok(rules.adopt(Stat { mode, ..source }))
}

/// Takes from a directory, which has `have`, what its source does not grant, before anything is written in it:
/// `want` and `xattrs` are the source's. Returns what was set.
pub(crate) fn narrow<P: AsRef<Path>>(
    target: HeldInode<'_>,
    want: &Stat,
    have: &Stat,
    xattrs: Option<&Xattrs>,
    rules: &Rules,
    path: impl Fn() -> P + Copy,
) -> Result<Difference> {
    let same_acl = match xattrs {
        // Where nobody else is granted anything, no ACL can grant it.
        Some(want) if have.mode & 0o077 != 0 => {
            xattr::has_access_acl_of(target, want).at(Operation::ReadXattrs, path)?
        }
        _ => true,
    };
    let difference = narrowed(want, have, same_acl, rules);
    // The owner first: a former one could set the mode again.
    set_owner(target, &difference, path)?;
    set_mode(target, &difference, path)?;
    Ok(difference)
}

/// Makes the attributes equal. Without privilege that takes the right to write, which the owner may give himself: the
/// mode is set afterwards in any case.
fn set_xattrs<P: AsRef<Path>>(
    target: HeldInode<'_>,
    want: &Xattrs,
    have: &Stat,
    fresh: bool,
    rules: &Rules,
    path: impl Fn() -> P + Copy,
) -> Result<Changes> {
    let root = rules.privileges.root;
    match xattr::make_equal(target, want, fresh, root, path) {
        Err(error) if error.errno() == Some(Errno::ACCESS) && !root && have.kind != Kind::Symlink => {
            let writable = Difference { mode: Some(have.mode | 0o600), ..Difference::default() };
            set_mode(target, &writable, path)?;
            xattr::make_equal(target, want, fresh, root, path)
        }
        other => other,
    }
}

/// The mode that `differences` would have set: an ACL may have changed it behind its back.
fn mode_of(want: &Stat, have: &Stat, difference: &Difference, rules: &Rules) -> u32 {
    let (uid, gid) = difference.owner.unwrap_or_default();
    mode_to_give(want, uid.unwrap_or(have.uid), gid.unwrap_or(have.gid), rules)
}

fn set_owner<P: AsRef<Path>>(
    target: HeldInode<'_>,
    difference: &Difference,
    path: impl Fn() -> P,
) -> Result<()> {
    let Some((uid, gid)) = difference.owner else { return Ok(()) };
    let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
    match target {
        HeldInode::Open(fd) => rustix::fs::fchown(fd, uid, gid),
        HeldInode::Handle(fd) => rustix::fs::chownat(fd, c"", uid, gid, AtFlags::EMPTY_PATH),
    }
    .at(Operation::SetOwner, path)
}

fn set_mode<P: AsRef<Path>>(
    target: HeldInode<'_>,
    difference: &Difference,
    path: impl Fn() -> P,
) -> Result<()> {
    let Some(mode) = difference.mode else { return Ok(()) };
    let mode = Mode::from_raw_mode(mode);
    match target {
        HeldInode::Open(fd) => rustix::fs::fchmod(fd, mode),
        HeldInode::Handle(fd) => rustix::fs::chmodat(CWD, proc_path(fd), mode, AtFlags::empty()),
    }
    .at(Operation::SetMode, path)
}

/// Sets the modification time and leaves the access time alone.
pub(crate) fn set_mtime<P: AsRef<Path>>(
    target: HeldInode<'_>,
    modified: Time,
    path: impl Fn() -> P,
) -> Result<()> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: modified.seconds, tv_nsec: modified.nanoseconds.into() },
    };
    match target {
        HeldInode::Open(fd) => rustix::fs::futimens(fd, &times),
        HeldInode::Handle(fd) => rustix::fs::utimensat(CWD, proc_path(fd), &times, AtFlags::empty()),
    }
    .at(Operation::SetTimes, path)
}
