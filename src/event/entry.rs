//! What became of one entry.

use std::ffi::{CStr, CString, OsStr};
use std::fmt;
use std::num::NonZeroU64;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use blake3::Hash;

use crate::error::Error;
use crate::event::{Changes, Kind};

/// What was done to an entry, or would be in a dry run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// It was not there.
    Created,
    /// It took the place of what was there.
    Updated,
    /// Its contents were right; owner, mode, times or attributes were set.
    Metadata,
    /// It was right already.
    Unchanged,
    /// It was linked to another name of its inode.
    Linked,
    /// The source does not have it.
    Deleted,
    /// See the error.
    Failed,
    /// It was left out: its directory failed, its type is not kept, or it is to be left alone in the destination.
    Skipped,
    /// It was listed, and the source does not have it any more, or not its directory: nothing was done. It may have moved.
    Vanished,
}

impl Action {
    /// All of them, in the order of reports.
    pub const ALL: [Action; 9] = [
        Action::Created,
        Action::Updated,
        Action::Metadata,
        Action::Linked,
        Action::Deleted,
        Action::Unchanged,
        Action::Skipped,
        Action::Vanished,
        Action::Failed,
    ];

    /// Whether something was, or would be, changed in the destination.
    pub fn is_change(self) -> bool {
        !matches!(self, Action::Unchanged | Action::Skipped | Action::Vanished | Action::Failed)
    }

    /// The word used in reports.
    pub fn name(self) -> &'static str {
        match self {
            Action::Created => "created",
            Action::Updated => "updated",
            Action::Metadata => "metadata",
            Action::Unchanged => "unchanged",
            Action::Linked => "linked",
            Action::Deleted => "deleted",
            Action::Failed => "failed",
            Action::Skipped => "skipped",
            Action::Vanished => "vanished",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What an entry of the source leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PointsTo {
    /// A symlink: to this target.
    Target(PathBuf),
    /// One of several names of an inode: to this other one, whose path is below the roots.
    Name(PathBuf),
}

/// What the source says of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attributes {
    /// Bytes of a file, of a symlink's target, or of a directory as its file system counts them.
    pub size: u64,
    /// When it was last written to: seconds since 1970, and nanoseconds past them.
    pub modified: (i64, u32),
    /// The permission bits, with setuid, setgid and sticky.
    pub mode: u32,
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// Contents that were not copied, since a tree of an earlier run has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reused {
    /// Which one of [`Config::link_dest`](crate::Config::link_dest).
    pub tree: usize,
    /// Bytes that are shared with it: all of a file that was linked or cloned, and of one that has changed what its clone
    /// could keep.
    pub bytes: u64,
    /// The source's contents were not read, since they are the same there.
    pub as_it_is: bool,
}

/// What a file of the source did while it was read, where it was copied all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Live {
    /// It grew: the copy has the bytes that it had at the beginning, and its time of then. The next run brings the rest.
    Grew,
    /// It changed in other ways, each time that it was read: the copy has what was read last, which may be a mixture
    /// ([`Config::take_changing`](crate::Config::take_changing)).
    Changing,
}

impl Live {
    /// The word for it in reports.
    pub fn name(self) -> &'static str {
        match self {
            Live::Grew => "grew",
            Live::Changing => "changing",
        }
    }
}

/// What became of one entry.
#[derive(Debug)]
#[non_exhaustive]
pub struct EntryEvent {
    /// Its name in its directory; empty for the directory itself.
    pub(crate) name: CString,
    /// What it is.
    pub kind: Kind,
    /// What was done.
    pub action: Action,
    /// What differed; nothing, where it failed.
    pub changes: Changes,
    /// In a comparison where something differs; in a sync if [`Config::details`](crate::Config::details) asks for it.
    pub points_to: Option<PointsTo>,
    /// It is a further name of an inode, whose first name came before it.
    pub follows: bool,
    /// What the source says of it, if it got so far.
    pub source: Option<Attributes>,
    /// Contents copied, cloned, or compared and mended where they were, in bytes.
    pub bytes: u64,
    /// BLAKE3 of the contents, where bytes were copied through and hashed, or all hashes were asked for.
    pub hash: Option<Hash>,
    /// What of its contents an earlier tree had.
    pub reused: Option<Reused>,
    /// What its source did while it was read.
    pub live: Option<Live>,
    /// Why it failed, or how it was found to have vanished.
    pub error: Option<Box<Error>>,
    /// See [`EntryEvent::lacks`]; nearly always nothing, and no larger than that.
    pub(crate) lacks: Option<Box<[Error]>>,
    /// A hard link had to become a copy: its inode has as many names as the file system allows.
    pub link_limit: bool,
    /// A hard link had to become a copy, since its file system has none, or its inode lies on another one (a mount point is
    /// between the two). The first one has that among its `lacks`.
    pub link_refused: bool,
    /// Its contents, its metadata and its name are on stable storage.
    pub durable: bool,
    /// How many bytes were expected of it, if they were counted as they were copied.
    pub(crate) expected: Option<NonZeroU64>,
}

impl EntryEvent {
    /// Of an entry of this type, to which this was done and of which nothing else is known.
    pub fn done(kind: Kind, action: Action) -> Self {
        EntryEvent {
            name: CString::default(),
            kind,
            action,
            changes: Changes::NONE,
            points_to: None,
            follows: false,
            source: None,
            bytes: 0,
            hash: None,
            reused: None,
            live: None,
            error: None,
            lacks: None,
            link_limit: false,
            link_refused: false,
            durable: false,
            expected: None,
        }
    }

    /// The same once more, if it has no error.
    pub(crate) fn again(&self) -> Option<Self> {
        if self.error.is_some() || self.lacks.is_some() {
            return None;
        }
        let (name, points_to) = (self.name.clone(), self.points_to.clone());
        Some(EntryEvent { name, points_to, error: None, lacks: None, ..*self })
    }

    /// The same of one that differed.
    pub fn changed(kind: Kind, action: Action, changes: Changes) -> Self {
        EntryEvent { changes, ..EntryEvent::done(kind, action) }
    }

    /// Of an entry that failed.
    pub fn failed(kind: Kind, error: Error) -> Self {
        EntryEvent { error: Some(Box::new(error)), ..EntryEvent::done(kind, Action::Failed) }
    }

    /// Whether the destination does not have it since an earlier tree has the same: [`Reuse::Compare`](crate::Reuse::Compare).
    pub fn is_left_out(&self) -> bool {
        let lacks = matches!(self.action, Action::Unchanged | Action::Deleted);
        lacks && !self.follows && self.reused.is_some()
    }

    /// With what the source says of it.
    pub(crate) fn of(self, source: impl Into<Attributes>) -> Self {
        EntryEvent { source: Some(source.into()), ..self }
    }

    /// With its name in its directory.
    pub fn named(self, name: CString) -> Self {
        EntryEvent { name, ..self }
    }

    /// What of its metadata the destination does not keep, an error each ([`Cause::NotKept`](crate::Cause::NotKept)). The
    /// entry is there, with its contents and the rest.
    pub fn lacks(&self) -> &[Error] {
        self.lacks.as_deref().unwrap_or_default()
    }

    /// With what it lacks.
    pub(crate) fn lacking(self, lacks: Vec<Error>) -> Self {
        let lacks = (!lacks.is_empty()).then(|| lacks.into_boxed_slice());
        EntryEvent { lacks, ..self }
    }

    /// Its name in its directory; empty for the directory itself.
    pub fn name(&self) -> &OsStr {
        os_str(&self.name)
    }

    /// The entry's path, given its directory's.
    pub fn path(&self, directory: &Path) -> PathBuf {
        match self.name.as_c_str() {
            name if name.is_empty() => directory.to_path_buf(),
            name => directory.join(os_str(name)),
        }
    }
}

fn os_str(name: &CStr) -> &OsStr {
    OsStr::from_bytes(name.to_bytes())
}

/// What became of some entries of one directory.
#[derive(Debug)]
#[non_exhaustive]
pub struct Entries {
    /// Its path below the roots.
    pub directory: PathBuf,
    /// In the order they were done.
    pub events: Vec<EntryEvent>,
}
