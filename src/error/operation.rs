//! What was being done when something failed.

use std::borrow::Cow;
use std::fmt;

use crate::error::setting::{Names, Setting};

/// The step that failed. Its text opens the error's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)] // each is its own description, see `Display`
pub enum Operation {
    UseSource,
    UseDestination,
    ListSource,
    ListDestination,
    OpenSource,
    StatSource,
    ReadSource,
    ReadLink,
    FollowLink,
    ReadXattrs,
    OpenDestination,
    StatDestination,
    ReadDestination,
    Create,
    Write,
    Flush,
    Verify,
    Clone,
    Link,
    Rename,
    Remove,
    SetOwner,
    SetXattr,
    SetFlags,
    SetMode,
    SetTimes,
    Delete,
    Backup,
    UseReference,
    UseCopyDest,
    UseCompareDest,
    UseRule,
    ReadRules,
    ReadPaths,
    FindPath,
    UseManifest,
    ReadManifest,
    WriteManifest,
    UseLog,
    UseTrace,
    UseKey,
    UseStore,
    UseDirectory,
    ListDirectory,
    StartEngine,
    Run,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told(Setting::field))
    }
}

impl Operation {
    /// The text, with settings called by these names.
    pub fn told(self, names: Names) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Operation::UseSource => "use source",
            Operation::UseDestination => "use destination",
            Operation::ListSource => "list source directory",
            Operation::ListDestination => "list destination directory",
            Operation::OpenSource => "open source",
            Operation::StatSource => "stat source",
            Operation::ReadSource => "read source",
            Operation::ReadLink => "read symlink",
            Operation::FollowLink => "follow symlink",
            Operation::ReadXattrs => "read extended attributes of",
            Operation::OpenDestination => "open destination",
            Operation::StatDestination => "stat destination",
            Operation::ReadDestination => "read destination",
            Operation::Create => "create",
            Operation::Write => "write",
            Operation::Flush => "flush to stable storage",
            Operation::Verify => "verify",
            Operation::Clone => "clone",
            Operation::Link => "link",
            Operation::Rename => "rename",
            Operation::Remove => "remove",
            Operation::SetOwner => "set owner of",
            Operation::SetXattr => "set extended attribute of",
            Operation::SetFlags => "set flags of",
            Operation::SetMode => "set mode of",
            Operation::SetTimes => "set times of",
            Operation::Delete => "delete from",
            Operation::Backup => "back up",
            Operation::UseReference => return format!("use {}", names(Setting::LinkDest)).into(),
            Operation::UseCopyDest => return format!("use {}", names(Setting::CopyDest)).into(),
            Operation::UseCompareDest => return format!("use {}", names(Setting::CompareDest)).into(),
            Operation::UseRule => "use filter rule",
            Operation::ReadRules => "read filter rules",
            Operation::ReadPaths => "read list of paths",
            Operation::FindPath => "find listed path",
            Operation::UseManifest => "use manifest",
            Operation::ReadManifest => "read manifest",
            Operation::WriteManifest => "write manifest",
            Operation::UseLog => "use log file",
            Operation::UseTrace => "use trace file",
            Operation::UseKey => "use the machine key",
            Operation::UseStore => "use store",
            Operation::UseDirectory => "use directory",
            Operation::ListDirectory => "list directory",
            Operation::StartEngine => "start the engine for",
            Operation::Run => "copy",
        })
    }

    /// What the user calls that which is opened first of all, by the path that was typed.
    pub(crate) fn subject(self) -> Option<&'static str> {
        match self {
            Operation::UseSource => Some("SRC"),
            Operation::UseDestination => Some("DST"),
            Operation::UseManifest => Some("the manifest"),
            Operation::UseDirectory => Some("the directory"),
            _ => None,
        }
    }

    /// Whether the operation reads or writes the destination tree, or the backups of what was there, and nothing else than
    /// that; a clone, which reads the source as well, is taken for one.
    pub(crate) fn uses_destination(self) -> bool {
        matches!(
            self,
            Operation::UseDestination
                | Operation::ListDestination
                | Operation::OpenDestination
                | Operation::StatDestination
                | Operation::ReadDestination
                | Operation::Create
                | Operation::Write
                | Operation::Flush
                | Operation::Clone
                | Operation::Link
                | Operation::Rename
                | Operation::Remove
                | Operation::SetOwner
                | Operation::SetXattr
                | Operation::SetMode
                | Operation::SetTimes
                | Operation::Delete
                | Operation::Backup
        )
    }

    /// Whether the operation reads the source tree: a name missing there has vanished since it was listed.
    pub(crate) fn reads_source(self) -> bool {
        matches!(
            self,
            Operation::ListSource
                | Operation::OpenSource
                | Operation::StatSource
                | Operation::ReadSource
                | Operation::ReadLink
                | Operation::FollowLink
                | Operation::ReadXattrs
        )
    }
}
