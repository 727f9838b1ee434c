//! Settings that messages name, by whichever names the caller has for them.

/// A setting that a message names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)] // each is its own description, see `field`
pub enum Setting {
    MakeParents,
    Exclude,
    ExcludeRule,
    IncludeRule,
    FilterRule,
    OneFileSystem,
    CrossSubvolumes,
    Delete,
    DeleteLimit,
    NoDeleteLimit,
    AllowEmptySource,
    BackupDirectory,
    BackupSuffix,
    LinkDest,
    CopyDest,
    CompareDest,
    Jobs,
    Threads,
    NoOwner,
    NoGroup,
    NoOwnerNoGroup,
    NoPermissions,
    NoTimes,
    OmitDirectoryTimes,
    OmitLinkTimes,
    NoAcls,
    NoXattrs,
    NoHardLinks,
    NoSymlinks,
    NoSpecials,
    NoDevices,
    Flags,
    Lock,
    LockWait,
    TakeChanging,
    FollowUnsafe,
    InsecureLinks,
}

/// What settings are called.
pub type Names = fn(Setting) -> &'static str;

impl Setting {
    /// What the library calls it: a field below [`Config`](crate::Config), or one of its values.
    pub fn field(self) -> &'static str {
        match self {
            Setting::MakeParents => "make_parents",
            Setting::Exclude => "a rule",
            Setting::ExcludeRule => "Selection::exclude",
            Setting::IncludeRule => "Selection::include",
            Setting::FilterRule => "Selection::filter",
            Setting::OneFileSystem => "select.one_file_system",
            Setting::CrossSubvolumes => "select.cross_subvolumes",
            Setting::Delete => "delete",
            Setting::DeleteLimit => "delete.limit",
            Setting::NoDeleteLimit => "a delete.limit of DeleteLimit::Percent(100)",
            Setting::AllowEmptySource => "delete.allow_empty_source",
            Setting::BackupDirectory => "backup.directory",
            Setting::BackupSuffix => "backup.suffix",
            Setting::LinkDest => "link_dest",
            Setting::CopyDest => "link_dest with Reuse::Copy",
            Setting::CompareDest => "link_dest with Reuse::Compare",
            Setting::Jobs => "jobs",
            Setting::Threads => "the engine of threads",
            Setting::NoOwner => "keep.owner = false",
            Setting::NoGroup => "keep.group = false",
            Setting::NoOwnerNoGroup => "keep.owner = false with keep.group = false",
            Setting::NoPermissions => "keep.permissions = false",
            Setting::NoTimes => "keep.times = false",
            Setting::OmitDirectoryTimes => "keep.directory_times = false",
            Setting::OmitLinkTimes => "keep.symlink_times = false",
            Setting::NoAcls => "keep.acls = false",
            Setting::NoXattrs => "keep.xattrs = false",
            Setting::NoHardLinks => "keep.hard_links = false",
            Setting::NoSymlinks => "keep.symlinks = false",
            Setting::NoSpecials => "keep.specials = false",
            Setting::NoDevices => "keep.devices = false",
            Setting::Flags => "keep.flags = true",
            Setting::Lock => "lock",
            Setting::LockWait => "a lock of Lock::Wait",
            Setting::TakeChanging => "take_changing",
            Setting::FollowUnsafe => "symlinks.follow_unsafe",
            Setting::InsecureLinks => "insecure_links",
        }
    }
}
