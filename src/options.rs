//! The values that options take, each for itself.

use std::ffi::OsString;
use std::path::PathBuf;

/// Gives types whose fields are public, and may become more, a way to be written in one expression.
macro_rules! with {
    ($($options:ty),*) => {$(
        impl $options {
            /// The same, with what `change` has set: the fields may become more, so that there is no literal of this type.
            #[must_use]
            pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
                change(&mut self);
                self
            }
        }
    )*};
}

/// The same for types of which some changes can fail.
macro_rules! try_with {
    ($($options:ty),*) => {$(
        impl $options {
            /// As [`with`](Self::with), where `change` may fail: adding a rule does.
            ///
            /// # Errors
            /// Those of `change`.
            pub fn try_with(
                mut self,
                change: impl FnOnce(&mut Self) -> $crate::Result<()>,
            ) -> $crate::Result<Self> {
                change(&mut self)?;
                Ok(self)
            }
        }
    )*};
}

pub(crate) use {try_with, with};

with!(Keep, Backup, Hashing, Delete, Compare, Owner, Symlinks);

/// What a copy keeps of its source besides contents, type and mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Keep {
    /// The user.
    pub owner: bool,
    /// The group.
    pub group: bool,
    /// Modes. Without them a new entry has its source's permissions less the umask, and one that is there keeps its own.
    pub permissions: bool,
    /// Without `permissions`: whether a file can be run. One that its source can't loses all of these rights; one that nobody
    /// can, and somebody can in the source, gets them for all who may read it.
    pub executability: bool,
    /// POSIX ACLs. A directory's default ACL is one.
    pub acls: bool,
    /// Extended attributes, capabilities among them.
    pub xattrs: bool,
    /// Names that share an inode share one afterwards.
    pub hard_links: bool,
    /// Modification times, in nanoseconds.
    pub times: bool,
    /// Those of directories as well.
    pub directory_times: bool,
    /// Those of symlinks as well.
    pub symlink_times: bool,
    /// Symlinks. Without them they are left out, and stay as they are in the destination.
    pub symlinks: bool,
    /// FIFOs and sockets.
    pub specials: bool,
    /// Device nodes.
    pub devices: bool,
    /// No copy on write (`FS_NOCOW_FL`, the C of chattr(1)) of files and directories. Other flags are left alone.
    pub flags: bool,
}

impl Default for Keep {
    fn default() -> Self {
        Keep {
            owner: true,
            group: true,
            permissions: true,
            executability: false,
            acls: true,
            xattrs: true,
            hard_links: true,
            times: true,
            directory_times: true,
            symlink_times: true,
            symlinks: true,
            specials: true,
            devices: true,
            flags: false,
        }
    }
}

/// Which symlinks stand for what they lead to. The meanings are those of rsync(1), but that none is followed out of the source
/// unless [`Symlinks::follow_unsafe`] says so, nor to what its owner could not read, as far as owners and modes tell, unless that
/// is root or the user who runs this ([`Config::insecure_links`](crate::Config::insecure_links) lifts it).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Symlinks {
    /// In the source.
    pub follow: Follow,
    /// Those of the source as well that are absolute or lead out of it by their text; and what is followed may lie outside.
    pub follow_unsafe: bool,
    /// Such symlinks are left out, and what the destination has under their names stays.
    pub skip_unsafe: bool,
    /// In the destination: a symlink to a directory stays, and stands for it, where the source has a directory.
    pub keep_directory_links: bool,
}

impl Symlinks {
    /// Whether one in the source may stand for something else.
    pub(crate) fn may_follow(&self) -> bool {
        self.follow != Follow::None || self.follow_unsafe
    }
}

/// Which symlinks of the source are followed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Follow {
    /// None: they are mirrored as they are.
    #[default]
    None,
    /// Those that lead to directories.
    Directories,
    /// All. One that leads nowhere is an error.
    All,
}

/// Where replaced and deleted entries are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backup {
    /// A tree of their own, in which they keep their paths; a relative path begins at the destination. `None`: beside their
    /// old names.
    pub directory: Option<PathBuf>,
    /// What their names end in.
    pub suffix: OsString,
}

/// What a run does while another one has the lock on its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// It ends, with [`Cause::Locked`](crate::Cause::Locked), before anything is written.
    Refuse,
    /// It waits until the lock is free, however long that takes.
    Wait,
}

/// What the hashes of the copied bytes are for, beyond the reports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hashing {
    /// Read each copied file back from the destination's storage and compare.
    pub verify: bool,
    /// Write the hashes of all files of the destination, those that were there already included, to this file.
    pub manifest: Option<PathBuf>,
}

/// What may be deleted, and when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delete {
    /// If more is to be deleted, nothing is.
    pub limit: Option<DeleteLimit>,
    /// Also where the source is empty, which is more often a disk that is not mounted.
    pub allow_empty_source: bool,
    /// Also where nothing that the destination has at its top is in the source, as if they were swapped.
    pub allow_strangers: bool,
    /// Before anything is copied or after all is.
    pub when: DeleteWhen,
    /// What becomes of it where something of the source could not be read.
    pub unread: Unread,
    /// Say which directories stay since something in them does.
    pub tells_kept: bool,
}

/// When a run deletes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeleteWhen {
    /// When all else is done.
    #[default]
    After,
    /// Before anything is copied, so that there is more room: both trees are listed once more for that. With
    /// [`Config::timeout`](crate::Config::timeout), or limits to the sizes of files, it is as `After`.
    Before,
}

/// What a run deletes where something of the source could not be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Unread {
    /// Nothing beneath what could not be read.
    #[default]
    ProtectsItsOwn,
    /// Nothing at all: what rsync does.
    ProtectsAll,
    /// All that was not seen in the source, and so all that an unreadable directory's mirror has: rsync's `--ignore-errors`.
    ProtectsNothing,
}

/// The most that may be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeleteLimit {
    /// This number of entries.
    Entries(u64),
    /// This percentage of all entries of the destination, from 0 to 100.
    Percent(u8),
    /// As many entries are deleted, in rsync's order, and the rest stays: what rsync means by `--max-delete`.
    First(u64),
}

/// By what a file of the destination is taken to be the source's. The meanings are those of rsync(1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CompareBy {
    /// It has the source's size and modification time.
    #[default]
    SizeAndTime,
    /// It has the source's size; times are metadata.
    Size,
    /// It has the source's contents: files of one size are read.
    Contents,
    /// By nothing: every file is copied anew.
    Nothing,
}

/// What counts as changed, and which names are left alone. The meanings are those of rsync(1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compare {
    /// By what files are compared.
    pub by: CompareBy,
    /// Two times count as equal if they differ by at most this number of seconds; nanoseconds are not looked at then.
    /// `None`: two times are equal to the nanosecond or not at all.
    pub window: Option<u64>,
    /// A file that is newer in the destination is left alone.
    pub update: bool,
    /// What the destination does not have is not made.
    pub existing: bool,
    /// What the destination has is left alone, but for directories.
    pub ignore_existing: bool,
}

/// A user and a group by their numbers, where they are not to be the source's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)]
pub struct Owner {
    pub user: Option<u32>,
    pub group: Option<u32>,
}

/// When to make a copy share its extents with the source (`FICLONE`, ioctl_ficlone(2)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reflink {
    /// Where the file system can; bytes are copied elsewhere.
    #[default]
    Auto,
    /// A file that can't be cloned fails.
    Always,
    /// Bytes are always copied.
    Never,
}

/// How an earlier tree's file that has not changed comes into the new one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reuse {
    /// As one more name of it, if all metadata are the same: a hard link.
    #[default]
    Link,
    /// As a file of its own that shares its extents (`FICLONE`), whatever became of its metadata. Of a large file that has
    /// changed the blocks that differ are written to such a clone. What can't be cloned is copied.
    Clone,
    /// As with `Link`, and by all rules of rsync's `--link-dest`: a file that the destination has, and that is the same, is
    /// exchanged for a link too; a new one whose metadata alone differ comes as with `Copy`.
    Relink,
    /// As a file of its own that is copied from there, a clone where the file system can, whatever became of its metadata:
    /// rsync's `--copy-dest`. What the destination has already is not looked up there.
    Copy,
    /// Not at all: what is the same there, with all metadata, is left out, and removed if the destination has it. A file whose
    /// metadata alone differ comes as with `Copy`. This is rsync's `--compare-dest`.
    Compare,
}

impl Reuse {
    /// Whether files that the destination has, and that may be right, are looked up as well.
    pub(crate) fn looks_at_all(self) -> bool {
        matches!(self, Reuse::Relink | Reuse::Compare)
    }

    /// Whether the contents of an earlier tree's file are copied from there, where they can't be shared.
    pub(crate) fn copies(self) -> bool {
        matches!(self, Reuse::Relink | Reuse::Copy | Reuse::Compare)
    }
}

/// How operations reach the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Engine {
    /// io_uring, or threads where it is forbidden.
    #[default]
    Auto,
    /// io_uring or nothing.
    Uring,
    /// Plain system calls on a pool of threads.
    Threads,
}
