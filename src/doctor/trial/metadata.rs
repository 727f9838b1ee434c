//! Attributes, ACLs, owners and modes.

use std::os::fd::OwnedFd;

use rustix::fs::{Gid, Mode, Uid, XattrFlags};
use rustix::io::{Errno, Result};

use crate::doctor::finding::Found;
use crate::doctor::scratch::Scratch;
use crate::doctor::whose::is_own;

const FILE: &str = "file";
const NEEDS_ROOT: &str = "only root keeps them";
const ACL: &str = "system.posix_acl_access";
const VANISHED: &str = "it is accepted, but not there afterwards";

pub(super) fn user_attributes(scratch: &Scratch) -> Result<Found> {
    keeps_attribute(&scratch.file(FILE)?, "user.ringsync", b"value")
}

/// The largest value of one attribute. The kernel's own limit is 64 KiB (xattr(7)).
pub(super) fn attribute_size(scratch: &Scratch) -> Result<Found> {
    let file = scratch.file(FILE)?;
    let is_held = |size: usize| {
        let value = vec![b'x'; size];
        rustix::fs::fsetxattr(&file, "user.ringsync", &value, XattrFlags::empty()).is_ok()
    };
    let (mut held, mut refused) = (0_usize, (64 << 10) + 1);
    while refused - held > 1 {
        let size = held.midpoint(refused);
        if is_held(size) { held = size } else { refused = size }
    }
    Ok(match held {
        0 => Found::Untried("there are no attributes".into()),
        size => Found::Bytes(size as u64),
    })
}

pub(super) fn trusted_attributes(scratch: &Scratch) -> Result<Found> {
    if !scratch.user.has_trusted {
        return Ok(Found::Untried("only root outside of containers sees them".into()));
    }
    keeps_attribute(&scratch.file(FILE)?, "trusted.ringsync", b"value")
}

/// CAP_NET_BIND_SERVICE, on an empty file: linux/capability.h's `vfs_cap_data`, revision 2, little endian.
pub(super) fn capabilities(scratch: &Scratch) -> Result<Found> {
    if !scratch.user.is_root {
        return Ok(Found::Untried(NEEDS_ROOT.into()));
    }
    let mut value = [0_u8; 20];
    (value[3], value[5]) = (0x02, 1 << 2);
    let file = scratch.file(FILE)?;
    rustix::fs::fsetxattr(&file, "security.capability", &value, XattrFlags::empty())?;
    // In a user namespace it comes back as revision 3.
    let found = rustix::fs::fgetxattr(&file, "security.capability", &mut [0_u8; 64][..]);
    Ok(Found::yes_if(found.is_ok(), VANISHED))
}

/// An access ACL that lets one more user read. In a user namespace also one that names a user without a number there.
pub(super) fn acls(scratch: &Scratch) -> Result<Found> {
    let user = scratch.user.others.0.unwrap_or_else(|| rustix::process::geteuid().as_raw());
    let file = scratch.file(FILE)?;
    let found = keeps_attribute(&file, ACL, &acl(user))?;
    let Some(unmapped) = scratch.user.unmapped.filter(|_| found == Found::Yes) else { return Ok(found) };
    Ok(match keeps_attribute(&file, ACL, &acl(unmapped)) {
        Err(errno) => Found::No(format!(
            "those that name users who are not mapped in this user namespace: {}",
            std::io::Error::from(errno)
        )),
        _ => found,
    })
}

/// linux/posix_acl_xattr.h: a version, then a tag, permissions and an id of each entry, little endian.
fn acl(user: u32) -> Vec<u8> {
    const NOBODY: u32 = u32::MAX;
    let entries = [
        (0x01, 6, NOBODY), // the owner
        (0x02, 4, user),
        (0x04, 4, NOBODY), // the group
        (0x10, 4, NOBODY), // the mask
        (0x20, 0, NOBODY), // others
    ];
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        acl.extend(u16::to_le_bytes(tag));
        acl.extend(u16::to_le_bytes(permissions));
        acl.extend(u32::to_le_bytes(id));
    }
    acl
}

fn keeps_attribute(file: &OwnedFd, name: &str, value: &[u8]) -> Result<Found> {
    rustix::fs::fsetxattr(file, name, value, XattrFlags::empty())?;
    let mut found = [0_u8; 256];
    let length = match rustix::fs::fgetxattr(file, name, &mut found[..]) {
        Ok(length) => length,
        Err(Errno::NODATA) => return Ok(Found::No(VANISHED.into())),
        Err(errno) => return Err(errno),
    };
    Ok(Found::yes_if(&found[..length] == value, "it comes back with another value"))
}

/// Gives a file to somebody else.
pub(super) fn owners(scratch: &Scratch) -> Result<Found> {
    if !scratch.user.is_root {
        return Ok(Found::Untried("only root gives files to others".into()));
    }
    let (Some(uid), Some(gid)) = scratch.user.others else {
        return Ok(Found::No("no other user or group is mapped in this user namespace".into()));
    };
    let file = scratch.file(FILE)?;
    rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    drop(file);
    let stat = scratch.stat(FILE)?;
    let text = format!("{uid}:{gid} becomes {}:{}", stat.stx_uid, stat.stx_gid);
    Ok(Found::yes_if((stat.stx_uid, stat.stx_gid) == (uid, gid), text))
}

pub(super) fn modes(scratch: &Scratch) -> Result<Found> {
    keeps_modes(scratch, &[0o640, 0o600, 0o755, 0o444])
}

/// Only where nobody else could get hold of the file, or is its owner.
pub(super) fn set_id(scratch: &Scratch) -> Result<Found> {
    if !scratch.is_private {
        return Ok(Found::Untried("others can enter the directory in which it would be tried".into()));
    }
    keeps_modes(scratch, &[0o4755, 0o2755, 0o1755])
}

fn keeps_modes(scratch: &Scratch, modes: &[u32]) -> Result<Found> {
    let file = scratch.file(FILE)?;
    if modes.iter().any(|mode| mode & 0o7000 != 0) && !is_own(&file)? {
        return Ok(Found::Untried("a new file belongs to another user".into()));
    }
    for &mode in modes {
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
        let found = scratch.mode(FILE)?;
        if found != mode {
            return Ok(Found::No(format!("{mode:04o} becomes {found:04o}")));
        }
    }
    Ok(Found::Yes)
}
