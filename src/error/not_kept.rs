//! Metadata that the destination does not keep: what it was to be, why it is not, and the setting that leaves it out.

use std::borrow::Cow;
use std::fmt::Write;
use std::io;

use crate::error::frozen::Frozen;
use crate::error::setting::{Names, Setting};

/// Something of an entry besides its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs)] // each is its own description, see `setting`
pub enum Property {
    /// User and group.
    Owner,
    User,
    Group,
    Mode,
    Times,
    DirectoryTimes,
    SymlinkTimes,
    Xattr,
    Acl,
    HardLink,
    Symlink,
    Special,
    Device,
    Flags,
}

impl Property {
    /// Of an owner that has these parts.
    pub(crate) fn of_owner(user: bool, group: bool) -> Self {
        match (user, group) {
            (true, false) => Property::User,
            (false, true) => Property::Group,
            _ => Property::Owner,
        }
    }

    /// Whether it is the user or the group.
    pub(crate) fn is_owner(self) -> bool {
        matches!(self, Property::Owner | Property::User | Property::Group)
    }

    /// The setting that leaves it out, and what that does.
    fn setting(self) -> (Setting, &'static str) {
        match self {
            Property::Owner => (Setting::NoOwnerNoGroup, "leaves owners and groups alone"),
            Property::User => (Setting::NoOwner, "leaves owners alone"),
            Property::Group => (Setting::NoGroup, "leaves groups alone"),
            Property::Mode => (Setting::NoPermissions, "leaves modes alone"),
            Property::Times => (Setting::NoTimes, "leaves times alone"),
            Property::DirectoryTimes => {
                (Setting::OmitDirectoryTimes, "leaves the times of directories alone")
            }
            Property::SymlinkTimes => (Setting::OmitLinkTimes, "leaves the times of symlinks alone"),
            Property::Xattr => (Setting::NoXattrs, "leaves attributes alone"),
            Property::Acl => (Setting::NoAcls, "leaves ACLs alone"),
            Property::HardLink => (Setting::NoHardLinks, "makes copies of hard links"),
            Property::Symlink => (Setting::NoSymlinks, "leaves symlinks out"),
            Property::Flags => (Setting::Flags, "asks for it"),
            Property::Special => (Setting::NoSpecials, "leaves FIFOs and sockets out"),
            Property::Device => (Setting::NoDevices, "leaves devices out"),
        }
    }
}

/// One property of an entry that the destination does not keep. The entry is there, with its contents and the rest.
#[derive(Debug)]
#[non_exhaustive]
pub struct NotKept {
    /// What it is.
    pub property: Property,
    /// What it was to be, in words: `7:8`, `0640`, `user.comment of 12 bytes`.
    pub wanted: String,
    /// What the kernel said; where it said nothing, what the property is instead.
    pub why: Result<String, io::Error>,
    /// The entry is closed to changes by chattr(1): that may be why.
    pub frozen: Option<Frozen>,
}

impl NotKept {
    /// Of a property that the kernel refused to set.
    pub(crate) fn refused(
        property: Property,
        wanted: impl Into<String>,
        error: impl Into<io::Error>,
    ) -> Self {
        NotKept { property, wanted: wanted.into(), why: Err(error.into()), frozen: None }
    }

    /// Of one that was set, and is something else all the same.
    pub(crate) fn became(property: Property, wanted: impl Into<String>, found: impl Into<String>) -> Self {
        NotKept { property, wanted: wanted.into(), why: Ok(found.into()), frozen: None }
    }

    /// The kernel's error, if it gave one.
    pub fn io_error(&self) -> Option<&io::Error> {
        self.why.as_ref().err()
    }

    /// The text, with settings called by these names.
    pub(super) fn told(&self, names: Names) -> Cow<'static, str> {
        let mut text = match &self.why {
            Ok(found) => format!("{} became {found}", self.wanted),
            Err(error) => format!("{}: {error}", self.wanted),
        };
        if let Some(how) = self.frozen {
            write!(text, ": it is {how}").ok();
        }
        let (setting, does) = self.property.setting();
        // Writing to a string can't fail.
        write!(text, " ({} {does})", names(setting)).ok();
        text.into()
    }
}
