//! Messages that may come once for every entry of a tree: the first few of each kind, and in the end a count of the rest.

use std::collections::BTreeMap;

use crate::report::words;
use ringsync::event::EntryEvent;
use ringsync::{Cause, Error, Operation, Outcome, Property};

/// How many of each kind are told one by one.
const TOLD: u64 = 3;

/// What was told, and how often it came.
#[derive(Debug, Default)]
pub(crate) struct Handful {
    kinds: BTreeMap<String, u64>,
}

impl Handful {
    /// The lacks of an entry that are to be told one by one.
    pub(crate) fn of<'e>(&mut self, event: &'e EntryEvent) -> Vec<&'e Error> {
        event.lacks().iter().filter(|error| self.takes(error)).collect()
    }

    /// Why an entry failed, if that is to be told.
    pub(crate) fn failure<'e>(&mut self, event: &'e EntryEvent) -> Option<&'e Error> {
        event.error.as_deref().filter(|error| self.takes(error))
    }

    /// Whether an error, which may be no entry's, is to be told.
    pub(crate) fn takes(&mut self, error: &Error) -> bool {
        let Some(kind) = kind(error) else { return true };
        let count = self.kinds.entry(kind).or_default();
        *count += 1;
        *count <= TOLD
    }

    /// A line for each kind of which more came than were told.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        let kinds = std::mem::take(&mut self.kinds);
        let more = kinds.into_iter().filter(|(_, count)| *count > TOLD);
        more.map(|(kind, count)| match count - TOLD {
            1 => format!("{kind}: the same for 1 more entry"),
            more => format!("{kind}: the same for {more} more entries"),
        })
        .collect()
    }
}

/// The words for errors that are of one kind: what was done, and what the kernel said.
fn kind(error: &Error) -> Option<String> {
    match error.cause {
        Cause::VanishedSince => return Some(error.cause.to_string()),
        _ if error.outcome() == Outcome::Vanished => {
            return Some("vanished from SRC (No such file or directory)".into());
        }
        _ => {}
    }
    let Cause::NotKept(lack) = &error.cause else { return None };
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
