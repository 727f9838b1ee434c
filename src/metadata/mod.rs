//! Metadata, read once and applied through descriptors in the one right order (`apply`): owner, extended attributes and
//! ACLs, mode, times. chown(2) clears setuid bits and capabilities, an ACL rewrites the group bits, and every one of them
//! but the last may touch a time.

mod acl;
pub(crate) mod apply;
mod equal;
pub(crate) mod flags;
pub(crate) mod kept;
mod set;
pub(crate) mod xattr;
mod xattrs;

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::error::{Cause, Context, Error, NotKept, Operation, Property, Result};
use crate::event::Kind;
use crate::io::file::is_faithful;
use crate::metadata::set::{set_mode, set_owner};
use crate::metadata::xattr::{Holder, Xattrs};
use crate::metadata::xattrs::is_unread;
use crate::plan::compare::Difference;
use crate::plan::narrow::narrowed;
use crate::plan::rules::Rules;
use crate::plan::tighten;
use crate::stat::{Stat, Time};

pub(crate) use crate::metadata::apply::{
    Applied, Target, Wanted, apply, apply_time, is_refusal, lack_of_unlisted,
};
pub(crate) use crate::metadata::set::set_mtime;

/// An inode held by a descriptor, never by a path that could be swapped.
#[derive(Clone, Copy)]
pub(crate) enum HeldInode<'a> {
    /// Opened for reading or writing.
    Open(BorrowedFd<'a>),
    /// Opened with `O_PATH`: for what can't or shouldn't be opened (symlinks, FIFOs, devices, files without read
    /// permission). System calls without an `AT_EMPTY_PATH` form go through its link in /proc/self/fd.
    Handle(BorrowedFd<'a>),
}

impl HeldInode<'_> {
    /// Whether EIO of an attribute says that there is none of the kind: behind FUSE, and of CIFS where one is too large. Of the
    /// kernel's own file systems it is a failing disk.
    fn lacks_attributes(self, errno: Errno) -> bool {
        let (HeldInode::Open(fd) | HeldInode::Handle(fd)) = self;
        errno == Errno::IO && !is_faithful(fd)
    }
}

/// Gives a directory the modification time back that it had before something in it was removed. Where times can't be set it
/// has none to lose.
///
/// # Errors
/// When the disk is in the way.
pub(crate) fn restore_mtime<P: AsRef<Path>>(
    target: HeldInode<'_>,
    modified: Time,
    path: impl Fn() -> P,
) -> Result<()> {
    match set_mtime(target, modified) {
        Err(errno) if !is_refusal(errno) => Err(errno).at(Operation::SetTimes, path),
        _ => Ok(()),
    }
}

/// The stat of a source, whose attributes `holder` has, as the destination is to have it. Every stat of the source goes
/// through here, once. `allowed` is what its directory lets new entries have where modes are left alone. Where ACLs are not kept the group gets what its own entry grants: the mode has the ACL's mask in its
/// place (acl(5)), and that is often more.
pub(crate) fn adopt<P: AsRef<Path>>(
    source: Stat,
    holder: &Holder<'_>,
    (rules, allowed): (&Rules, u32),
    path: impl FnOnce() -> P,
) -> Result<Stat> {
    let mask_may_show = !rules.keep.acls && source.kind != Kind::Symlink && source.mode & 0o070 != 0;
    let (mode, acl_unread) = match mask_may_show.then(|| xattr::mode_without_acl(holder, source.mode)) {
        Some(Err(errno)) if is_unread(errno) => {
            (source.mode & !0o070, rules.keep.permissions.then_some(errno))
        }
        Some(mode) => (mode.at(Operation::ReadXattrs, path)?, None),
        None => (source.mode, None),
    };
    Ok(rules.adopt(Stat { mode, acl_unread, ..source }, allowed))
}

/// The lack of a source whose ACL could not be read, so that the mode it grants is not known.
pub(crate) fn lack_of_mode(source: &Stat, path: impl FnOnce() -> PathBuf) -> Option<Error> {
    let lack =
        NotKept::refused(Property::Mode, "its ACL, which tells what its group may do", source.acl_unread?);
    Some(Error::new(Operation::ReadXattrs, path(), Cause::from(lack)))
}

/// The attributes of an entry of the destination, which has `have`, as far as its backup is to have them, and the mode that
/// goes with them: without its ACL the group gets what its own entry grants, and not the mask. What can't be read of them
/// costs itself, as of a source.
pub(crate) fn model<P: AsRef<Path>>(
    have: Stat,
    holder: &Holder<'_>,
    rules: &Rules,
    path: impl Fn() -> P + Copy,
) -> Result<(Stat, Option<Xattrs>)> {
    let read = || xattr::read_known(holder, rules.reach(), path).at(Operation::ReadXattrs, path);
    let known = rules.keep.attributes().then(read).transpose()?;
    let mask_may_show = !rules.keep.acls && have.kind != Kind::Symlink && have.mode & 0o070 != 0;
    let mode = match mask_may_show.then(|| xattr::mode_without_acl(holder, have.mode)) {
        Some(Err(errno)) if is_unread(errno) => have.mode & !0o070,
        Some(mode) => mode.at(Operation::ReadXattrs, path)?,
        None => have.mode,
    };
    Ok((Stat { mode, ..have }, known))
}

/// The mode to make a regular file with that belongs to `group` then: no more than what it may have if nothing that has to
/// be set is set, since the mode itself may be refused.
pub(crate) fn mode_at_first(wanted: Wanted<'_>, group: u32, rules: &Rules) -> u32 {
    let mode = tighten::mode_at_first(wanted.stat, group, rules);
    match wanted.xattrs.and_then(xattr::access_acl) {
        _ if wanted.xattrs.is_some_and(Xattrs::hides_acl) => closed_to_others(mode),
        Some(acl) => acl::mode_without(acl, mode),
        None => mode,
    }
}

/// The mode of an entry whose ACL is not known: there could be one that keeps out anybody but the owner.
pub(crate) fn closed_to_others(mode: u32) -> u32 {
    mode & !0o077
}

/// Whether a directory has the access ACL that `want` has, or none as that has none. One that it may not show is another one.
pub(crate) fn has_acl_of(target: HeldInode<'_>, want: &Xattrs) -> rustix::io::Result<bool> {
    match xattr::has_access_acl_of(target, want) {
        Err(errno) if target.lacks_attributes(errno) => Ok(xattr::access_acl(want).is_none()),
        Err(errno) if is_refusal(errno) => Ok(false),
        known => known,
    }
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
        Some(want) if rules.keep.acls && have.mode & 0o077 != 0 => {
            has_acl_of(target, want).at(Operation::ReadXattrs, path)?
        }
        _ => true,
    };
    let difference = narrowed(want, have, same_acl, rules);
    // The owner first: a former one could set the mode again.
    if let Some((uid, gid)) = difference.owner {
        set_owner(target, uid, gid).at(Operation::SetOwner, path)?;
    }
    if let Some(mode) = difference.mode {
        set_mode(target, mode).at(Operation::SetMode, path)?;
    }
    Ok(difference)
}
