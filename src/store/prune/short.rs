//! `--keep-free`: snapshots that no rule names go only while space is short.

use std::os::unix::fs::MetadataExt;

use crate::error::{Cause, Error, Operation, Result};
use crate::stop::Stop;
use crate::store::Held;
use crate::store::prune::remove::{doom, emptied};
use crate::store::prune::{Decision, Prune, reasons, removal};
use crate::store::record::Record;
use crate::store::retention::Verdict;
use crate::store::space::{Freed, KeepFree, Room};

/// How many complete snapshots, the newest ones, stay however short space is.
const NEVER_BELOW: usize = 7;
/// How many removals in a row that free nothing show that it is no help to remove snapshots.
const IN_VAIN: usize = 3;
/// They free nothing where together, without their manifests, it is less than this part of what was missing before them,
/// and less than this number of bytes.
const NEXT_TO_NOTHING: u64 = 100;
const LITTLE: u64 = 100 << 20;

/// What is to be there beside what [`Prune::keep_free`] asks for.
#[derive(Clone, Copy, Default)]
pub(super) struct Need {
    /// Bytes that something else will take.
    pub(super) bytes: u64,
    /// How many snapshots there will be besides, newer than all: 1 or none. They count as complete.
    pub(super) coming: usize,
}

/// With [`Prune::keep_free`]: spares the newest complete ones, and what need not go since there is room. In what is removed
/// the room is measured again after each; in a dry run it is foretold, and so is where the removal would stop.
pub(super) fn spare_while_free(
    prune: &Prune,
    held: &Held,
    decisions: &mut [Decision],
    need: Need,
    stop: &Stop,
) -> Result<()> {
    let Some(keep_free) = prune.keep_free.filter(|_| prune.names.is_empty()) else { return Ok(()) };
    let complete = decisions.iter_mut().rev().filter(|decision| decision.snapshot.complete);
    for decision in complete.take(NEVER_BELOW - need.coming).filter(|decision| !decision.verdict.keeps()) {
        decision.verdict = Verdict::Keep(vec![format!("one of the {NEVER_BELOW} newest complete")]);
    }
    let room = Room::of(held.layout.store())?;
    let wanted = keep_free.bytes(&room).saturating_add(need.bytes);
    let most = most(prune, held.snapshots.len() + need.coming);
    let (mut freed, mut vain) = (Freed::default(), InVain::default());
    let may_go = decisions.iter_mut().filter(|decision| !decision.verdict.keeps());
    for (gone, decision) in may_go.enumerate() {
        let free = room.free.saturating_add(freed.bytes);
        if let Some(why) = vain.why_to_stop((free, wanted), (gone, most)) {
            decision.verdict = Verdict::Keep(vec![why.into()]);
        } else if prune.dry_run {
            freed.add(&held.layout.snapshot(&decision.snapshot.name), stop);
            vain.note(free, room.free.saturating_add(freed.bytes));
        }
    }
    Ok(())
}

/// How many snapshots of `all` may go while space is short.
pub(super) fn most(prune: &Prune, all: usize) -> usize {
    if prune.force { all } else { all / 2 }
}

/// That less is free than [`Prune::keep_free`] wants, though all has gone that may.
pub(super) fn still_short(prune: &Prune, held: &Held, decisions: &[Decision]) -> Result<Option<Error>> {
    let Some(keep_free) = prune.keep_free.filter(|_| prune.names.is_empty()) else { return Ok(None) };
    let room = Room::of(held.layout.store())?;
    let wanted = keep_free.bytes(&room);
    if room.free >= wanted {
        return Ok(None);
    }
    let mut reasons: Vec<&str> =
        decisions.iter().filter_map(|one| reasons(one).first()).map(|why| &**why).collect();
    reasons.sort_unstable();
    reasons.dedup();
    let why = format!(
        "{} bytes are free there, and {wanted} are to be: what is left stays ({})",
        room.free,
        reasons.join("; ")
    );
    Ok(Some(Error::new(Operation::UseStore, held.layout.store(), Cause::Refused(why))))
}

/// Removes one after the other, the oldest first, until enough is free, or it turns out that this is no help, or `most` of them
/// are gone. Returns also why the others stay.
pub(super) fn remove_while_short(
    held: &mut Held,
    doomed: &[Record],
    (keep_free, missing, most): (KeepFree, u64, usize),
    stop: &Stop,
) -> Result<(Vec<Error>, &'static str)> {
    let mut errors = removal::empty(&held.layout, stop)?;
    let mut room = Room::of(held.layout.store())?;
    let wanted = keep_free.bytes(&room).saturating_add(missing);
    let mut vain = InVain::default();
    for (gone, record) in doomed.iter().enumerate() {
        if let Some(why) = vain.why_to_stop((room.free, wanted), (gone, most)) {
            return Ok((errors, why));
        }
        if stop.is_stopped() {
            break;
        }
        let manifest = std::fs::metadata(held.layout.manifest(&record.name));
        let manifest = manifest.map_or(0, |manifest| manifest.blocks() * 512);
        errors.extend(doom(held, record).err());
        errors.extend(emptied(held, stop));
        let now = match Room::of(held.layout.store()) {
            Ok(now) => now,
            Err(error) => {
                errors.push(error);
                break;
            }
        };
        vain.note(room.free, now.free.saturating_sub(manifest));
        room = now;
    }
    Ok((errors, "it could not be removed"))
}

/// What the last removals have freed.
#[derive(Default)]
struct InVain {
    /// Of each: what was free before it, and bytes that it freed.
    removals: Vec<(u64, u64)>,
}

impl InVain {
    fn note(&mut self, before: u64, after: u64) {
        self.removals.push((before, after.saturating_sub(before)));
    }

    /// Why no more is to go, with this number of bytes free, and this number of snapshots gone of the most that may go.
    fn why_to_stop(&self, (free, wanted): (u64, u64), (gone, most): (usize, usize)) -> Option<&'static str> {
        match free >= wanted {
            true => Some("enough is free"),
            false if self.is_seen(wanted) => Some("the removal of three others freed nothing"),
            false => (gone >= most).then_some("half of all are gone"),
        }
    }

    /// Whether the last ones have freed next to nothing of what was wanted.
    fn is_seen(&self, wanted: u64) -> bool {
        let Some(first) = self.removals.len().checked_sub(IN_VAIN) else { return false };
        let missing = wanted.saturating_sub(self.removals[first].0);
        let freed: u64 = self.removals[first..].iter().map(|(_, freed)| freed).sum();
        freed == 0 || freed < (missing / NEXT_TO_NOTHING).min(LITTLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_frees_next_to_nothing_is_in_vain() {
        let seen = |freed: [u64; 3], wanted| {
            let mut vain = InVain::default();
            vain.note(0, 500);
            freed.into_iter().for_each(|freed| vain.note(1000, 1000 + freed));
            vain.is_seen(wanted)
        };
        assert!(seen([0, 0, 0], 1050));
        assert!(seen([3, 3, 3], 2000), "less than a hundredth of 1000");
        assert!(!seen([4, 4, 4], 2000) && !seen([0, 0, 10], 2000));
        assert!(!seen([LITTLE, 0, 0], 1 << 50), "much room is made by many");
        assert!(!InVain::default().is_seen(1));
    }
}
