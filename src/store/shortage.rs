//! A run of `take` that found no room: how much it lacked, what makes room for it, and what would.

use crate::error::{Outcome, Result};
use crate::event::{Summary, Totals};
use crate::stop::Stop;
use crate::store::attempt::Attempt;
use crate::store::prune::{self, Decision, Pruned, removal, room_to_make};
use crate::store::space::{Freed, is_no_room};
use crate::store::take::Take;
use crate::store::{Held, Record, earlier};

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

/// What was done where a run found no room.
#[derive(Default)]
pub(super) struct MadeRoom {
    pub(super) pruned: Vec<Result<Pruned>>,
    /// Trees of runs that were broken off.
    pub(super) dropped: usize,
    /// There is more room than there was.
    pub(super) is_more: bool,
}

/// Where a run found no room: removes what runs that were broken off and prunes that were killed have left, and what the rules
/// release.
pub(super) fn make_room(
    take: &Take,
    held: &mut Held,
    attempt: &mut Result<Attempt>,
    stop: &Stop,
) -> MadeRoom {
    let mut made = MadeRoom::default();
    let missing = match attempt {
        Ok(attempt) if is_full(&attempt.summary) => missing_bytes(&attempt.summary.totals),
        Err(error) if is_no_room(error) => 0,
        _ => return made,
    };
    if stop.is_stopped() {
        return made;
    }
    free(take, held, (missing, attempt.is_ok()), &mut made, stop);
    // The next run reads it, and there was no room for it before: what it lacks has no hash.
    if let Ok(attempt) = attempt {
        attempt.journal.flush().ok();
    }
    made
}

/// Does what takes a little room when a run has come to its end, and once more where there was none and some was made.
pub(super) fn with_room(
    take: &Take,
    held: &mut Held,
    made: &mut MadeRoom,
    stop: &Stop,
    mut work: impl FnMut(&Held) -> Result<()>,
) -> Result<()> {
    match work(held) {
        Err(error) if is_no_room(&error) && !stop.is_stopped() => {
            free(take, held, (0, true), made, stop);
            work(held)
        }
        done => done,
    }
}

/// Removes what may go where `missing` bytes are: where nothing else does, also what runs that were broken off have left, if
/// the last one `is_linked` to it.
fn free(take: &Take, held: &mut Held, (missing, is_linked): (u64, bool), made: &mut MadeRoom, stop: &Stop) {
    empty_due(held, made, stop);
    if let Some(prune) = &take.prune {
        let pruned = prune::make_room(prune, held, (missing, take.name.is_some()), stop);
        let goes = |decision: &Decision| !decision.verdict.keeps();
        made.is_more |= pruned.as_ref().is_ok_and(|(decisions, _)| decisions.iter().any(goes));
        made.pruned.push(pruned);
    }
    if made.is_more || !is_linked {
        return;
    }
    match earlier::drop_broken_off(&held.layout) {
        Ok(dropped) => made.dropped += dropped,
        Err(error) => made.pruned.push(Err(error)),
    }
    empty_due(held, made, stop);
}

/// Removes what is out of sight already.
fn empty_due(held: &Held, made: &mut MadeRoom, stop: &Stop) {
    if removal::is_due(&held.layout) {
        made.is_more = true;
        made.pruned.push(removal::empty(&held.layout, stop).map(|errors| (Vec::new(), errors)));
    }
}

/// Whether a run was broken off for want of room.
pub(super) fn is_full(summary: &Summary) -> bool {
    let is_told = || summary.errors.iter().any(is_no_room);
    summary.outcome == Outcome::BrokenOff && !summary.stuck && (summary.totals.bytes_missing > 0 || is_told())
}

/// What a run lacked at the least.
fn missing_bytes(totals: &Totals) -> u64 {
    totals.bytes_missing.max(totals.bytes_expected.saturating_sub(totals.bytes))
}
