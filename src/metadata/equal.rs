//! Making the attributes of an entry those that it is to have, each for itself, and looking at what came of it.

use std::ffi::CString;

use rustix::io::Errno;

use crate::error::Property;
use crate::event::Changes;
use crate::metadata::HeldInode;
use crate::metadata::apply::name_of;
use crate::metadata::xattr::{
    self, ACCESS_ACL, Xattrs, get, is_acl, is_beyond, is_label, names, remove, try_read,
};
use crate::plan::privileges::Reach;

/// An attribute that could not be set, or removed.
#[derive(Debug)]
pub(super) struct Refused {
    name: CString,
    /// Bytes it was to have; `None`: it was to be removed.
    size: Option<usize>,
    /// `None`: nothing was said, and it is not there all the same.
    pub(super) errno: Option<Errno>,
    /// It is any that there may be: they could not be listed.
    unlisted: bool,
}

/// What was to become of attributes that could not be listed.
pub(super) const UNLISTED: &str = "those that SRC lacks, to be removed, which can't be listed";

/// What is known of a target, and of the file system that it lies on: see [`Target`](crate::metadata::Target).
#[derive(Clone, Copy)]
pub(super) struct Holds {
    pub(super) bare: bool,
    pub(super) sure: bool,
}

impl Refused {
    pub(super) fn is_access_acl(&self) -> bool {
        self.name.as_c_str() == ACCESS_ACL
    }

    /// Whether only root may have it (xattr(7)).
    pub(super) fn takes_privilege(&self) -> bool {
        let name = self.name.as_bytes();
        name.starts_with(b"trusted.") || name.starts_with(b"security.")
    }

    /// What it is, and in words what it was to be.
    pub(super) fn told(&self) -> (Property, String) {
        if self.unlisted {
            return (Property::Xattr, UNLISTED.into());
        }
        let property = if is_acl(&self.name) { Property::Acl } else { Property::Xattr };
        let name = name_of(&self.name);
        let text = match self.size {
            Some(1) => format!("{name} of 1 byte"),
            Some(size) => format!("{name} of {size} bytes"),
            None => format!("{name}, to be removed"),
        };
        (property, text)
    }
}

/// What came of making attributes equal.
#[derive(Debug)]
pub(super) struct Set {
    /// Whether ACLs were set or removed, and whether others were.
    pub(super) changes: Changes,
    pub(super) refused: Vec<Refused>,
}

/// Sets what `want` has and `target` lacks, and removes what it has beyond: each for itself. Labels of security modules
/// follow their own policy: what it refuses is no lack. Unless the file system is `sure` to keep what it does not refuse,
/// what was set is looked for.
pub(super) fn make_equal(
    target: HeldInode<'_>,
    want: &Xattrs,
    Holds { bare, sure }: Holds,
    reach: Reach,
) -> Set {
    let mut set = Set { changes: Changes::NONE, refused: Vec::new() };
    let have = match if bare { Ok(Xattrs::new()) } else { try_read(&target.into(), reach) } {
        Ok(have) => have,
        Err(errno) if target.lacks_attributes(errno) => Xattrs::new(),
        // What it has can't be told: all is set anew, and an ACL that was there may be left.
        Err(errno) => {
            let name = if reach.acls { ACCESS_ACL.into() } else { CString::default() };
            set.refused.push(Refused { name, size: None, errno: Some(errno), unlisted: true });
            Xattrs::new()
        }
    };
    let beyond = have.iter().filter(|(name, _)| is_beyond(name, want)).map(|(name, _)| (name, None));
    // NTFS's program has ACLs and `trusted.*`, and does not list them.
    let is_unlisted = |(name, value): &(CString, Vec<u8>)| {
        !sure && !bare && get(&target.into(), name).is_ok_and(|found| found == *value)
    };
    let is_missing = |entry: &&(CString, Vec<u8>)| !have.contains(entry) && !is_unlisted(entry);
    // ACLs last: one may take the right to set the others.
    let (acls, others): (Vec<_>, Vec<_>) = want.iter().filter(is_missing).partition(|(name, _)| is_acl(name));
    let missing = others.into_iter().chain(acls).map(|(name, value)| (name, Some(value)));
    for (name, value) in beyond.chain(missing) {
        let done = match value {
            Some(value) => xattr::set(target, name, value),
            None => remove(target, name),
        };
        match done {
            Ok(()) if is_acl(name) => set.changes.acl = true,
            Ok(()) => set.changes.xattrs = true,
            Err(Errno::NODATA) => {}
            Err(_) if is_label(name.to_bytes()) => {}
            Err(errno) => {
                let size = value.map(Vec::len);
                set.refused.push(Refused { name: name.clone(), size, errno: Some(errno), unlisted: false });
            }
        }
    }
    if !sure && !set.changes.is_empty() {
        set.look(target, want, &have);
    }
    set
}

impl Set {
    /// Looks at what came of it: some file systems say yes, and keep nothing.
    fn look(&mut self, target: HeldInode<'_>, want: &Xattrs, had: &Xattrs) {
        let holder = target.into();
        let Ok(listed) = names(&holder, Reach::ALL) else { return };
        let is_missing = |(name, value): &&(CString, Vec<u8>)| {
            let is_there = match get(&holder, name) {
                Ok(found) => found == *value,
                Err(_) => listed.contains(name), // it can't be read
            };
            !is_there && !is_label(name.to_bytes())
        };
        let is_told = |name: &CString, refused: &[Refused]| refused.iter().any(|one| one.name == *name);
        let (mut acls, mut others) = (false, false);
        for entry @ (name, value) in want.iter().filter(|entry| !had.contains(entry)) {
            if is_told(name, &self.refused) {
            } else if is_missing(&entry) {
                self.refused.push(Refused {
                    name: name.clone(),
                    size: Some(value.len()),
                    errno: None,
                    unlisted: false,
                });
            } else if is_acl(name) {
                acls = true;
            } else {
                others = true;
            }
        }
        // What was removed is not looked for.
        let removes = |acl| had.iter().any(|(name, _)| is_acl(name) == acl && is_beyond(name, want));
        self.changes.acl &= acls || removes(true);
        self.changes.xattrs &= others || removes(false);
    }
}
