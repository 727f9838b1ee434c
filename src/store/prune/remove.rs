//! Snapshots that are to go are taken out of sight and out of the record, and then removed.

use crate::error::{Cause, Error, Operation, Result};
use crate::stop::Stop;
use crate::store::Held;
use crate::store::prune::short::{most, remove_while_short};
use crate::store::prune::{Decision, Prune, refusal, removal};
use crate::store::record::Record;
use crate::store::retention::Verdict;
use crate::store::space::is_no_room;

/// Removes what is to go. Returns the first errors of what could not be removed, of which the verdict is another one then.
pub(super) fn remove(
    prune: &Prune,
    held: &mut Held,
    decisions: &mut [Decision],
    missing: u64,
    stop: &Stop,
) -> Result<Vec<Error>> {
    let goes = |decision: &&Decision| !decision.verdict.keeps();
    let doomed: Vec<Record> =
        decisions.iter().filter(goes).map(|decision| decision.snapshot.clone()).collect();
    let all = held.snapshots.len();
    let keep_free = prune.keep_free.filter(|_| prune.names.is_empty());
    if let Some(why) = refusal(prune, decisions) {
        return Err(Error::new(Operation::UseStore, held.layout.store(), Cause::Refused(why)));
    }
    if doomed.is_empty() {
        return removal::empty(&held.layout, stop);
    }
    let mut errors = point_away_from(held, &doomed, stop)?;
    let doomed: Vec<Record> = doomed.into_iter().filter(|record| held.snapshots.contains(record)).collect();
    let (more, why_spared) = match keep_free {
        None => (remove_all(held, &doomed, stop), "it could not be removed"),
        Some(keep_free) => remove_while_short(held, &doomed, (keep_free, missing, most(prune, all)), stop)?,
    };
    errors.extend(more);
    errors.extend(held.write_down().err());
    for decision in decisions {
        if !decision.verdict.keeps() && held.snapshots.contains(&decision.snapshot) {
            decision.verdict = Verdict::Keep(vec![why_spared.into()]);
        }
    }
    Ok(errors)
}

/// Has `latest` lead to the newest one that stays: it never leads to what is gone. Where there is no room for the link, others
/// that are to go, the oldest first, go before.
fn point_away_from(held: &mut Held, doomed: &[Record], stop: &Stop) -> Result<Vec<Error>> {
    let mut errors = Vec::new();
    let is_doomed = |record: &&Record| doomed.iter().any(|doomed| doomed.name == record.name);
    let Some(newest) = held.snapshots.iter().rev().find(|record| !is_doomed(record)).cloned() else {
        return Ok(errors);
    };
    let target = held.layout.leads_to();
    let mut others = doomed.iter().filter(|record| target.as_deref() != Some(record.name.as_ref()));
    loop {
        match (held.layout.point_latest_at(&newest.name), others.next()) {
            (Err(error), Some(other)) if is_no_room(&error) && !stop.is_stopped() => {
                errors.extend(doom(held, other).err());
                errors.extend(emptied(held, stop));
            }
            // There is none, and the file system may have no symlinks: that is told in the end.
            (Err(_), _) if target.is_none() => return Ok(errors),
            (pointed, _) => return pointed.map(|()| errors),
        }
    }
}

/// Takes one out of sight, and out of the record.
pub(super) fn doom(held: &mut Held, record: &Record) -> Result<()> {
    let doomed = removal::doom(&held.layout, &held.layout.snapshot(&record.name));
    // What could not be flushed is out of sight all the same.
    if doomed.is_ok() || !held.layout.may_have(&record.name) {
        held.snapshots.retain(|kept| kept.name != record.name);
    }
    doomed
}

/// Removes what is out of sight. The first errors: what is gone is to be written down whatever came of that.
pub(super) fn emptied(held: &Held, stop: &Stop) -> Vec<Error> {
    removal::empty(&held.layout, stop).unwrap_or_else(|error| vec![error])
}

fn remove_all(held: &mut Held, doomed: &[Record], stop: &Stop) -> Vec<Error> {
    let mut errors: Vec<Error> = doomed.iter().filter_map(|record| doom(held, record).err()).collect();
    // There may be no room for the record before.
    errors.extend(emptied(held, stop));
    errors
}
