//! Messages that may come once for every entry of a tree: the first few of each kind, and in the end a count of the rest.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use crate::report::words;
use ringsync::event::{EntryEvent, Live};
use ringsync::{Cause, Error, Escaped, Operation, Property};

/// How many of each kind are told one by one.
const TOLD: u64 = 3;

/// What was told, and how often it came.
#[derive(Debug, Default)]
pub(crate) struct Handful {
    /// What a message that tells of a failure begins with.
    mark: &'static str,
    kinds: BTreeMap<String, u64>,
    live: BTreeMap<&'static str, u64>,
}

impl Handful {
    /// Messages of which those that tell of a failure begin with `mark`.
    pub(crate) fn marking(mark: &'static str) -> Self {
        Handful { mark, ..Handful::default() }
    }

    /// What to say of an entry's failure, and of what it lacks.
    pub(crate) fn of(&mut self, event: &EntryEvent) -> Vec<String> {
        let errors = event.error.as_deref().into_iter().chain(event.lacks());
        errors.filter_map(|error| self.error(error)).collect()
    }

    /// What to say of an error, which may be no entry's.
    pub(crate) fn error(&mut self, error: &Error) -> Option<String> {
        let mark = if error.tells_vanished() { "" } else { self.mark };
        if let Some(kind) = kind(error) {
            let count = self.kinds.entry(format!("{mark}{kind}")).or_default();
            *count += 1;
            if *count > TOLD {
                return None;
            }
        }
        Some(format!("{mark}{}", told(error)))
    }

    /// What to say of a file that changed while it was read, and is there all the same.
    pub(crate) fn live(&mut self, directory: &Path, event: &EntryEvent) -> Option<String> {
        let live = event.live.filter(|_| !event.follows)?;
        let count = self.live.entry(live_kind(live)).or_default();
        *count += 1;
        if *count > TOLD {
            return None;
        }
        let path = event.path(directory);
        let path = Escaped::path(&path);
        Some(match live {
            Live::Grew => {
                format!(
                    "{path} grew while it was read: the copy is what it was before, the next run brings the rest"
                )
            }
            _ => {
                format!("{path} changed each time that it was read: the copy may be a mixture of what it was")
            }
        })
    }

    /// A line for each kind of error of which more came than were told.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        rest(std::mem::take(&mut self.kinds))
    }

    /// The same of files that changed while they were read.
    pub(crate) fn rest_live(&mut self) -> Vec<String> {
        rest(std::mem::take(&mut self.live))
    }
}

fn rest<K: Display>(kinds: BTreeMap<K, u64>) -> Vec<String> {
    let more = kinds.into_iter().filter(|(_, count)| *count > TOLD);
    more.map(|(kind, count)| match count - TOLD {
        1 => format!("{kind}: the same for 1 more entry"),
        more => format!("{kind}: the same for {more} more entries"),
    })
    .collect()
}

/// An error of a run: what is missing in SRC by now was there when it was listed.
fn told(error: &Error) -> String {
    if error.tells_vanished() {
        let operation = error.operation.told(words::option);
        return format!("{operation} {}: it vanished from SRC during the run", Escaped::path(&error.path));
    }
    words::told(error)
}

fn live_kind(live: Live) -> &'static str {
    match live {
        Live::Grew => "files that grew while they were read",
        _ => "files that changed while they were read",
    }
}

/// The words for errors that are of one kind: what was done, and what the kernel said.
fn kind(error: &Error) -> Option<String> {
    let lack = match &error.cause {
        Cause::NotKept(lack) => lack,
        Cause::Frozen { how, directory: true, .. } => {
            return Some(format!("change what is in a directory that is {how}"));
        }
        Cause::Frozen { how, .. } => return Some(format!("change what is {how}")),
        Cause::VanishedSince => return Some(error.cause.to_string()),
        _ if error.tells_vanished() => return Some("vanished from SRC during the run".into()),
        _ => return None,
    };
    let what = match lack.property {
        _ if error.operation == Operation::ReadXattrs => "read extended attributes",
        Property::Xattr => "set extended attributes",
        Property::Acl => "set ACLs",
        Property::Owner => "set owners",
        Property::Mode => "set modes",
        Property::Times => "set times",
        Property::DirectoryTimes => "set times of directories",
        Property::HardLink => "make hard links",
        Property::Symlink => "make symlinks",
        Property::Special => "make FIFOs, sockets and devices",
        Property::Flags => "set flags",
        _ => return Some(error.operation.told(words::option).into_owned()),
    };
    Some(match lack.io_error() {
        Some(error) => format!("{what}: {error}"),
        None => format!("{what}: they became something else"),
    })
}
