//! An entry's attributes, and which of the source's could not be read: these cost themselves. The destination's stay as they
//! are; where its ACL is not known, an entry is its owner's alone.

use std::ffi::{CStr, CString};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::error::{Cause, Error, NotKept, Operation, Property};
use crate::metadata::apply::name_of;
use crate::metadata::is_refusal;
use crate::metadata::xattr::{ACCESS_ACL, is_acl};

/// A file's attributes, sorted by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Xattrs {
    list: Vec<(CString, Vec<u8>)>,
    /// What could not be read of a source's.
    unread: Vec<Unread>,
    /// The access ACL, or that there is none, is known though the attributes can't be listed.
    knows_acl: bool,
}

/// Attributes that could not be read.
#[derive(Debug, Clone)]
struct Unread {
    /// Which; `None`: all, since they can't be listed.
    name: Option<CString>,
    errno: Errno,
    /// Whose, for the message.
    path: PathBuf,
}

impl Xattrs {
    /// None at all.
    pub(crate) fn new() -> Self {
        Xattrs::default()
    }

    /// Takes note of an attribute, or of all, that could not be read.
    pub(super) fn mark_unread(&mut self, name: Option<CString>, errno: Errno, path: impl AsRef<Path>) {
        self.unread.push(Unread { name, errno, path: path.as_ref().to_owned() });
    }

    /// Whether all that there are were read.
    pub(crate) fn is_complete(&self) -> bool {
        self.unread.is_empty()
    }

    /// Whether the source may have an attribute of this name that could not be read.
    pub(crate) fn hides(&self, name: &CStr) -> bool {
        let is_hidden = |unread: &Unread| unread.name.as_deref().is_none_or(|hidden| hidden == name);
        self.unread.iter().any(is_hidden) && !(self.knows_acl && name == ACCESS_ACL)
    }

    /// Whether nothing is known of its access ACL.
    pub(crate) fn hides_acl(&self) -> bool {
        self.hides(ACCESS_ACL)
    }

    /// Takes note of the access ACL of an entry whose attributes can't be listed: it is known all the same.
    pub(super) fn know_acl(&mut self, acl: Option<Vec<u8>>) {
        self.list.extend(acl.map(|acl| (ACCESS_ACL.to_owned(), acl)));
        self.knows_acl = true;
    }

    /// What could not be read, an error each.
    pub(crate) fn lacks(&self) -> Vec<Error> {
        self.unread.iter().map(Unread::lack).collect()
    }
}

impl Unread {
    fn lack(&self) -> Error {
        let (property, wanted) = match &self.name {
            Some(name) if is_acl(name) => (Property::Acl, name_of(name)),
            Some(name) => (Property::Xattr, name_of(name)),
            None => (Property::Xattr, "which it has".to_owned()),
        };
        let lack = NotKept::refused(property, wanted, self.errno);
        Error::new(Operation::ReadXattrs, self.path.clone(), Cause::from(lack))
    }
}

/// Whether an errno says that attributes of the source can't be read, and not that it, or its disk, is gone. The file itself
/// can be read from a disk that has lost their block.
pub(super) fn is_unread(errno: Errno) -> bool {
    is_refusal(errno) || errno == Errno::IO
}

impl Deref for Xattrs {
    type Target = Vec<(CString, Vec<u8>)>;

    fn deref(&self) -> &Self::Target {
        &self.list
    }
}

impl DerefMut for Xattrs {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.list
    }
}

impl FromIterator<(CString, Vec<u8>)> for Xattrs {
    fn from_iter<I: IntoIterator<Item = (CString, Vec<u8>)>>(entries: I) -> Self {
        Xattrs { list: entries.into_iter().collect(), ..Xattrs::default() }
    }
}
