//! Extended attributes, and with them POSIX ACLs and file capabilities, which the kernel shows as attributes.
//!
//! Kept are `user.*` and the two ACLs; for root also `trusted.*` and `security.*`, as rsync does, and for root of a user
//! namespace, or one without all capabilities, `security.capability` alone. Left out are
//! `security.evm` and `security.ima`, which the kernel signs for one inode and refuses from elsewhere, and what is a file
//! system's own view of other metadata: the rest of `system.*`, and the names under which xfs shows ACLs once more.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use rustix::path::DecInt;

use crate::error::{Context, Operation, Result};
use crate::event::Changes;
use crate::io::op;
use crate::metadata::xattrs::is_unread;
use crate::metadata::{HeldInode, acl};
use crate::plan::privileges::{Namespaces, Reach};
use crate::plan::rules::Rules;
use crate::stat::{Stat, proc_path};

pub(crate) use crate::metadata::xattrs::Xattrs;

/// Whose attributes are meant.
pub(crate) enum Holder<'a> {
    /// Those of an open file.
    Open(BorrowedFd<'a>),
    /// Those of the inode behind a link in /proc/self/fd.
    Link(String),
    /// Those of a name in a held directory, a symlink's own if it is one.
    Name(BorrowedFd<'a>, &'a CStr),
}

impl<'a> From<HeldInode<'a>> for Holder<'a> {
    fn from(target: HeldInode<'a>) -> Self {
        match target {
            HeldInode::Open(fd) => Holder::Open(fd),
            HeldInode::Handle(fd) => Holder::Link(proc_path(fd)),
        }
    }
}

/// A name in a held directory as a path, for system calls that know no directory descriptor. Kernels before 6.13 take it for
/// every entry on both sides: it is put together in one allocation, without the machinery of `format!`.
fn path_in(directory: BorrowedFd<'_>, name: &CStr) -> CString {
    const DESCRIPTORS: &[u8] = b"/proc/self/fd/";
    let (number, name) = (DecInt::from_fd(directory), name.to_bytes());
    let parts = [DESCRIPTORS, number.as_bytes(), b"/", name];
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut path = Vec::with_capacity(length + 1); // and the zero at its end
    parts.iter().for_each(|part| path.extend_from_slice(part));
    CString::new(path).unwrap_or_default() // a name has no zero in it
}

/// The ACL that new entries of a directory inherit.
pub(crate) const DEFAULT_ACL: &CStr = c"system.posix_acl_default";
pub(super) const ACCESS_ACL: &CStr = c"system.posix_acl_access";
const CAPABILITY: &CStr = c"security.capability";

fn is_kept(name: &[u8], reach: Reach) -> bool {
    if name == ACCESS_ACL.to_bytes() || name == DEFAULT_ACL.to_bytes() {
        return reach.acls;
    }
    let is_signed = name == b"security.evm" || name == b"security.ima";
    let of_all = name.starts_with(b"user.");
    match reach.namespaces {
        _ if !reach.xattrs => false,
        Namespaces::User => of_all,
        Namespaces::Capabilities => of_all || name == CAPABILITY.to_bytes(),
        Namespaces::All if name.starts_with(b"security.") => !is_signed,
        Namespaces::All if name.starts_with(b"trusted.") => !name.starts_with(b"trusted.SGI_ACL_"),
        Namespaces::All => of_all,
    }
}

/// Whether an errno of looking for an attribute says that it is not there, or that its file system has none. ENOSYS does not: a
/// sandbox refuses the call, and what there is stays unknown.
fn is_none(errno: Errno) -> bool {
    matches!(errno, Errno::NODATA | Errno::OPNOTSUPP)
}

/// The kept attributes of `holder`, an empty list where the file system has none.
pub(crate) fn read<P: AsRef<Path>>(
    holder: &Holder<'_>,
    reach: Reach,
    path: impl Fn() -> P + Copy,
) -> Result<Xattrs> {
    try_read(holder, reach).at(Operation::ReadXattrs, path)
}

pub(super) fn try_read(holder: &Holder<'_>, reach: Reach) -> rustix::io::Result<Xattrs> {
    let mut found = Xattrs::new();
    for name in names(holder, reach)? {
        match get(holder, &name) {
            Ok(value) => found.push((name, value)),
            // Removed since it was listed, or listed by a program that does not give it away, as gocryptfs does.
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
    }
    found.sort();
    Ok(found)
}

/// A file of the destination has it while it is rewritten in place, and its old version is kept
/// (engine/entry/in_place.rs). It is not copied: it tells something of that very file.
pub(crate) const UNFINISHED: &CStr = c"user.ringsync.unfinished";

/// The attributes of `holder` that can be read, and which can't.
pub(super) fn read_known<P: AsRef<Path>>(
    holder: &Holder<'_>,
    reach: Reach,
    path: impl Fn() -> P,
) -> rustix::io::Result<Xattrs> {
    let mut found = Xattrs::new();
    let names = match names(holder, reach) {
        Err(errno) if is_unread(errno) => {
            found.mark_unread(None, errno, path());
            match get(holder, ACCESS_ACL) {
                _ if !reach.acls => found.know_acl(None),
                Ok(acl) => found.know_acl(Some(acl)),
                Err(errno) if is_none(errno) => found.know_acl(None),
                Err(_) => {}
            }
            return Ok(found);
        }
        names => names?,
    };
    for name in names {
        match get(holder, &name) {
            Ok(value) => found.push((name, value)),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {} // as in `try_read`
            Err(errno) if is_unread(errno) => found.mark_unread(Some(name), errno, path()),
            Err(errno) => return Err(errno),
        }
    }
    found.sort();
    Ok(found)
}

/// The attributes of `holder`, an entry of the source, as the destination is to have them: where modes are changed, or left
/// alone, its ACL changes with its mode.
pub(crate) fn read_source<P: AsRef<Path>>(
    holder: &Holder<'_>,
    source: &Stat,
    rules: &Rules,
    path: impl Fn() -> P + Copy,
) -> Result<Xattrs> {
    let mut found = read_known(holder, rules.reach(), path).at(Operation::ReadXattrs, path)?;
    found.retain(|(name, _)| name.as_c_str() != UNFINISHED);
    if !rules.chmod.is_empty() || !rules.keep.permissions {
        follow_mode(&mut found, source.mode);
    }
    Ok(found)
}

/// Makes the access ACL among some attributes that of an entry with this mode.
pub(crate) fn follow_mode(xattrs: &mut Xattrs, mode: u32) {
    if let Some((_, acl)) = xattrs.iter_mut().find(|(name, _)| name.as_c_str() == ACCESS_ACL) {
        acl::follow_mode(acl, mode);
    }
}

/// Takes the file capability, if there is one, from some attributes.
pub(crate) fn drop_capability(xattrs: &mut Xattrs) {
    xattrs.retain(|(name, _)| name.as_c_str() != CAPABILITY);
}

/// The access ACL of `holder`. One that can't be read is an empty one, which grants nothing; a file system that is not
/// `faithful` answers with EIO where it has none.
pub(crate) fn access_acl_of(holder: &Holder<'_>, faithful: bool) -> Option<Vec<u8>> {
    match get(holder, ACCESS_ACL) {
        Ok(acl) => Some(acl),
        Err(errno) if is_none(errno) || errno == Errno::NOENT => None,
        Err(Errno::IO) if !faithful => None,
        Err(_) => Some(Vec::new()),
    }
}

/// The mode of a file that is to lose its ACL, if `holder` has one.
pub(super) fn mode_without_acl(holder: &Holder<'_>, mode: u32) -> rustix::io::Result<u32> {
    match get(holder, ACCESS_ACL) {
        Ok(acl) => Ok(mode & !0o070 | acl::group_of(&acl) << 3),
        Err(errno) if is_none(errno) => Ok(mode),
        Err(errno) => Err(errno),
    }
}

pub(super) fn names(holder: &Holder<'_>, reach: Reach) -> rustix::io::Result<Vec<CString>> {
    // Nearly every file has no attributes at all, or few: one call into the stack answers for these.
    let mut short = [0_u8; 512];
    let long;
    let list = match list(holder, &mut short) {
        Ok(length) => &short[..length],
        Err(Errno::RANGE) => {
            long = list_long(holder)?;
            &long[..]
        }
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(errno) => return Err(errno),
    };
    Ok(list
        .split(|&b| b == 0)
        .filter(|name| is_kept(name, reach))
        .filter_map(|n| CString::new(n).ok())
        .collect())
}

fn list(holder: &Holder<'_>, buffer: &mut [u8]) -> rustix::io::Result<usize> {
    match holder {
        Holder::Open(fd) => rustix::fs::flistxattr(fd, buffer),
        Holder::Link(path) => rustix::fs::listxattr(path.as_str(), buffer),
        Holder::Name(directory, name) => match op::list_xattrs_at(*directory, name, buffer) {
            // A kernel that does not know it, and a sandbox that forbids it, may say anything.
            Err(errno) if errno != Errno::RANGE => rustix::fs::llistxattr(path_in(*directory, name), buffer),
            other => other,
        },
    }
}

fn list_long(holder: &Holder<'_>) -> rustix::io::Result<Vec<u8>> {
    let mut buffer = Vec::with_capacity(1 << 16); // XATTR_LIST_MAX
    match holder {
        Holder::Open(fd) => rustix::fs::flistxattr(fd, spare_capacity(&mut buffer))?,
        Holder::Link(path) => rustix::fs::listxattr(path.as_str(), spare_capacity(&mut buffer))?,
        Holder::Name(directory, name) => {
            rustix::fs::llistxattr(path_in(*directory, name), spare_capacity(&mut buffer))?
        }
    };
    Ok(buffer)
}

pub(super) fn get(holder: &Holder<'_>, name: &CStr) -> rustix::io::Result<Vec<u8>> {
    let mut value = Vec::with_capacity(256);
    let read = |value: &mut Vec<u8>| match holder {
        Holder::Open(fd) => rustix::fs::fgetxattr(fd, name, spare_capacity(value)),
        Holder::Link(path) => rustix::fs::getxattr(path.as_str(), name, spare_capacity(value)),
        Holder::Name(directory, file) => {
            rustix::fs::lgetxattr(path_in(*directory, file), name, spare_capacity(value))
        }
    };
    match read(&mut value) {
        Err(Errno::RANGE) => {
            value.reserve_exact(1 << 16); // XATTR_SIZE_MAX
            read(&mut value)?;
        }
        other => {
            other?;
        }
    }
    Ok(value)
}

/// Whether ACLs differ, and whether other attributes do. A label that only the destination has is its system's own.
pub(crate) fn changes(want: &Xattrs, have: &Xattrs) -> Changes {
    let missing = |acl: bool| want.iter().any(|entry| is_acl(&entry.0) == acl && !have.contains(entry));
    let beyond = |acl: bool| have.iter().any(|(name, _)| is_acl(name) == acl && is_beyond(name, want));
    let differ = |acl| missing(acl) || beyond(acl);
    match **want == **have {
        true => Changes::NONE,
        false => Changes { acl: differ(true), xattrs: differ(false), ..Changes::NONE },
    }
}

/// Whether `want` gives a privilege that `have` does not: a file capability (capabilities(7)).
pub(crate) fn grants(want: &Xattrs, have: &Xattrs) -> bool {
    want.iter().any(|entry| entry.0.as_c_str() == CAPABILITY && !have.contains(entry))
}

/// Whether a file or directory has the access ACL that `want` has, or none as that has none.
pub(crate) fn has_access_acl_of(target: HeldInode<'_>, want: &Xattrs) -> rustix::io::Result<bool> {
    let wanted = access_acl(want);
    match get(&target.into(), ACCESS_ACL) {
        Ok(acl) => Ok(wanted == Some(acl.as_slice())),
        Err(errno) if is_none(errno) => Ok(wanted.is_none()),
        Err(errno) => Err(errno),
    }
}

/// Removes the ACLs of a file or directory. Where that is refused and there is none, as behind some programs for FUSE, there
/// is nothing to remove.
pub(crate) fn remove_acls(target: HeldInode<'_>) -> rustix::io::Result<()> {
    for name in [ACCESS_ACL, DEFAULT_ACL] {
        match remove(target, name) {
            Err(errno) if !is_none(errno) && !get(&target.into(), name).is_err_and(is_none) => {
                return Err(errno);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a file has a capability.
pub(crate) fn has_capability(target: HeldInode<'_>) -> rustix::io::Result<bool> {
    match get(&target.into(), CAPABILITY) {
        Ok(_) => Ok(true),
        Err(errno) if is_none(errno) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Whether an open file has neither an ACL nor a file capability, which would give somebody more than its mode shows.
pub(crate) fn grants_nothing(file: &OwnedFd) -> rustix::io::Result<bool> {
    let names = names(&Holder::Open(file.as_fd()), Reach::ALL)?;
    Ok(!names.iter().any(|name| is_acl(name) || name.as_c_str() == CAPABILITY))
}

pub(super) fn is_acl(name: &CStr) -> bool {
    name == ACCESS_ACL || name == DEFAULT_ACL
}

/// The access ACL among some attributes.
pub(crate) fn access_acl(xattrs: &Xattrs) -> Option<&[u8]> {
    xattrs.iter().find(|(name, _)| name.as_c_str() == ACCESS_ACL).map(|(_, acl)| acl.as_slice())
}

/// Whether an attribute of the destination is to be removed, since the source lacks it.
pub(super) fn is_beyond(name: &CStr, want: &Xattrs) -> bool {
    !is_label(name.to_bytes())
        && !want.hides(name)
        && !want.iter().any(|(wanted, _)| wanted.as_c_str() == name)
}

/// Whether an attribute is the label that a security module gives each file: by its own rules, where nobody says otherwise.
pub(super) fn is_label(name: &[u8]) -> bool {
    name == b"security.selinux" || name.starts_with(b"security.SMACK64") || name == b"security.apparmor"
}

pub(super) fn set(target: HeldInode<'_>, name: &CStr, value: &[u8]) -> rustix::io::Result<()> {
    match target {
        HeldInode::Open(fd) => rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()),
        HeldInode::Handle(fd) => rustix::fs::setxattr(proc_path(fd), name, value, XattrFlags::empty()),
    }
}

pub(super) fn remove(target: HeldInode<'_>, name: &CStr) -> rustix::io::Result<()> {
    match target {
        HeldInode::Open(fd) => rustix::fs::fremovexattr(fd, name),
        HeldInode::Handle(fd) => rustix::fs::removexattr(proc_path(fd), name),
    }
}

/// The permissions in the default ACL of a directory, if it has one: the most that new entries get without being given more.
pub(crate) fn default_permissions(directory: &OwnedFd) -> Option<u32> {
    let acl = get(&Holder::Link(proc_path(directory)), DEFAULT_ACL).ok()?;
    Some(acl::permissions(&acl))
}

/// Whether a directory has an ACL that new entries inherit, or a sandbox hides whether it has.
pub(crate) fn has_default_acl(directory: &OwnedFd) -> bool {
    let mut value = [0_u8; 256];
    let length = match rustix::fs::fgetxattr(directory, DEFAULT_ACL, &mut value[..]) {
        // It was opened with O_PATH, since it can't be listed.
        Err(Errno::BADF) => rustix::fs::getxattr(proc_path(directory), DEFAULT_ACL, &mut value[..]),
        other => other,
    };
    match length {
        Ok(length) => length > 0,
        Err(errno) => matches!(errno, Errno::RANGE | Errno::NOSYS), // a long one, or one that is hidden
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acls_are_told_from_other_attributes() {
        let list = |entries: &[(&str, u8)]| -> Xattrs {
            entries.iter().map(|(name, value)| (CString::new(*name).unwrap(), vec![*value])).collect()
        };
        let (acl, other) = ("system.posix_acl_access", "user.a");
        let both = list(&[(acl, 1), (other, 1)]);
        let found = |have: &[(&str, u8)]| {
            let changes = changes(&both, &list(have));
            (changes.acl, changes.xattrs)
        };
        assert_eq!(found(&[(acl, 1), (other, 1)]), (false, false));
        assert_eq!(found(&[(acl, 2), (other, 1)]), (true, false));
        assert_eq!(found(&[(acl, 1), (other, 2)]), (false, true));
        assert_eq!(found(&[(acl, 1), (other, 1), ("user.b", 1)]), (false, true));
        assert_eq!(found(&[]), (true, true));
        assert_eq!(
            found(&[(acl, 1), (other, 1), ("security.selinux", 1)]),
            (false, false),
            "a label of its own"
        );
        let labelled = list(&[("security.selinux", 2)]);
        assert!(changes(&labelled, &list(&[("security.selinux", 1)])).xattrs, "the source has another one");
    }

    #[test]
    fn kept_namespaces_follow_privilege() {
        for (name, user, capabilities, all) in [
            ("user.comment", true, true, true),
            ("system.posix_acl_access", true, true, true),
            ("system.posix_acl_default", true, true, true),
            ("system.nfs4_acl", false, false, false),
            ("trusted.overlay.opaque", false, false, true),
            ("trusted.SGI_ACL_FILE", false, false, false),
            ("security.capability", false, true, true),
            ("security.selinux", false, false, true),
            ("security.ima", false, false, false),
        ] {
            let of = |reach| is_kept(name.as_bytes(), reach);
            let with = |namespaces| of(Reach { namespaces, ..Reach::ALL });
            let found = (with(Namespaces::User), with(Namespaces::Capabilities), with(Namespaces::All));
            assert_eq!(found, (user, capabilities, all), "{name}");
            let is_acl = name.contains("posix_acl");
            assert_eq!(of(Reach { acls: false, ..Reach::ALL }), all && !is_acl, "{name}");
            assert_eq!(of(Reach { xattrs: false, ..Reach::ALL }), all && is_acl, "{name}");
        }
    }
}
