//! A run of `take` that found no room: how much it lacked, and what would make room.

use rustix::io::Errno;

use crate::error::{Error, Outcome};
use crate::event::{Summary, Totals};
use crate::stop::Stop;
use crate::store::prune::room_to_make;
use crate::store::space::Freed;
use crate::store::take::Take;
use crate::store::{Held, Record};

/// What would make room. Bytes that snapshots which stay have as well are not counted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NoRoom {
    /// Bytes that the run lacked, as far as it came.
    pub missing: u64,
    /// Bytes that pruning by the rules would have freed, where that was refused since more than half of all would go.
    pub by_rules: Option<u64>,
    /// How many of the oldest snapshots, beside those with names and the newest complete one, would have to go, and the bytes
    /// that would free. If they are not enough they are all there are.
    pub by_oldest: Option<(usize, u64)>,
}

impl NoRoom {
    pub(super) fn find(take: &Take, summary: &Summary, held: &Held, stop: &Stop) -> Self {
        let missing = missing_bytes(&summary.totals);
        let by_rules = take
            .prune
            .as_ref()
            .and_then(|prune| room_to_make(prune, held, (missing, take.name.is_some()), stop).ok());
        let newest = held.snapshots.iter().rev().find(|record| record.complete);
        let may_go = |record: &&Record| !record.named && Some(*record) != newest;
        let (mut freed, mut count) = (Freed::default(), 0);
        for (index, record) in held.snapshots.iter().filter(may_go).enumerate() {
            let before = freed.bytes;
            if before >= missing.max(1) {
                break;
            }
            freed.add(&held.layout.snapshot(&record.name), stop);
            if freed.bytes > before {
                count = index + 1;
            }
        }
        NoRoom {
            missing,
            by_rules: by_rules.filter(|bytes| *bytes > 0),
            by_oldest: (count > 0).then_some((count, freed.bytes)),
        }
    }
}

/// Whether a run was broken off for want of room.
pub(super) fn is_full(summary: &Summary) -> bool {
    let is_told = || summary.errors.iter().any(is_no_room);
    summary.outcome == Outcome::BrokenOff && !summary.stuck && (summary.totals.bytes_missing > 0 || is_told())
}

/// Whether an error is for want of room.
pub(super) fn is_no_room(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::NOSPC | Errno::DQUOT))
}

/// What a run lacked at the least.
pub(super) fn missing_bytes(totals: &Totals) -> u64 {
    totals.bytes_missing.max(totals.bytes_expected.saturating_sub(totals.bytes))
}
