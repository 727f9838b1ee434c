//! What became of an entry, as the tasks pass it on.

use std::ffi::CString;
use std::num::NonZeroU64;

use blake3::Hash;

use crate::error::Error;
use crate::event::{Action, Changes, EntryEvent, Kind, Live, PointsTo, Reused};
use crate::metadata::Applied;

/// What became of an entry.
#[derive(Debug)]
pub(crate) struct Copied {
    pub(crate) action: Action,
    /// Contents copied or cloned, in bytes.
    pub(crate) bytes: u64,
    /// How many bytes were expected of it, if its bytes were counted as they were copied.
    pub(crate) expected: Option<NonZeroU64>,
    pub(crate) hash: Option<Hash>,
    /// What of its contents an earlier tree had.
    pub(crate) reused: Option<Reused>,
    /// What its source did while it was read.
    pub(crate) live: Option<Live>,
    /// A hard link became a copy: the inode has as many names as it can.
    pub(crate) link_limit: bool,
    /// A hard link became a copy, since its file system has none.
    pub(crate) link_refused: bool,
    /// What came of its metadata, where there is something to tell.
    pub(crate) applied: Option<Box<Applied>>,
    /// What differed.
    pub(crate) changes: Changes,
    /// Where it leads, if that is to be told.
    pub(crate) points_to: Option<PointsTo>,
    /// It is a further name of an inode.
    pub(crate) follows: bool,
}

impl Copied {
    /// Nothing was copied.
    pub(crate) fn skipped() -> Self {
        Copied {
            action: Action::Skipped,
            bytes: 0,
            expected: None,
            hash: None,
            reused: None,
            live: None,
            link_limit: false,
            link_refused: false,
            applied: None,
            changes: Changes::NONE,
            points_to: None,
            follows: false,
        }
    }

    /// With what came of its metadata.
    pub(crate) fn with(self, applied: Applied) -> Self {
        let tells = !applied.lacks.is_empty() || applied.rounded.is_some() || applied.squashed;
        Copied { applied: tells.then(|| Box::new(applied)), ..self }
    }

    /// With what it lacks, beside what it is known to lack.
    #[inline]
    pub(crate) fn lacking(mut self, lacks: Vec<Error>) -> Self {
        if lacks.is_empty() {
            return self;
        }
        if let Some(applied) = &mut self.applied {
            applied.lacks.extend(lacks);
            return self;
        }
        self.with(Applied { lacks, ..Applied::default() })
    }

    /// What is reported of it.
    pub(crate) fn event(self, kind: Kind) -> EntryEvent {
        let Copied { action, bytes, expected, hash, link_limit, link_refused, .. } = self;
        let Copied { applied, changes, points_to, follows, reused, live, .. } = self;
        let lacks = applied.map(|applied| applied.lacks).filter(|lacks| !lacks.is_empty());
        let lacks = lacks.map(Vec::into_boxed_slice);
        let (name, source, error, durable) = (CString::default(), None, None, false);
        EntryEvent {
            name,
            kind,
            action,
            changes,
            points_to,
            follows,
            source,
            bytes,
            hash,
            reused,
            live,
            error,
            lacks,
            link_limit,
            link_refused,
            durable,
            expected,
        }
    }

    /// Whether the destination does not have it, since an earlier tree has the same.
    pub(crate) fn is_left_out(&self) -> bool {
        matches!(self.action, Action::Unchanged | Action::Deleted) && !self.follows && self.reused.is_some()
    }

    /// Everything was there already.
    pub(crate) fn unchanged() -> Self {
        Copied { action: Action::Unchanged, ..Copied::skipped() }
    }
}
