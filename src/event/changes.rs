//! What differs between an entry and its mirror, for reports: nothing here decides what is done.

/// The ways in which the destination's entry is not what the source's is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changes {
    /// The destination has nothing of its type. The other fields are then `false`.
    pub new: bool,
    /// The target of a symlink, the number of a device, and of a file its bytes where these were compared.
    pub contents: bool,
    /// A file's size.
    pub size: bool,
    /// The modification time.
    pub times: bool,
    /// The permission bits.
    pub mode: bool,
    /// The user.
    pub owner: bool,
    /// The group.
    pub group: bool,
    /// One of the two POSIX ACLs.
    pub acl: bool,
    /// An extended attribute that is no ACL.
    pub xattrs: bool,
    /// No copy on write, where flags are kept. The itemised form has no letter for it.
    pub flags: bool,
}

impl Changes {
    /// Nothing was there.
    pub const NEW: Changes = Changes { new: true, ..Changes::NONE };
    /// Nothing differs.
    pub const NONE: Changes = Changes {
        new: false,
        contents: false,
        size: false,
        times: false,
        mode: false,
        owner: false,
        group: false,
        acl: false,
        xattrs: false,
        flags: false,
    };

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        *self == Changes::NONE
    }
}
