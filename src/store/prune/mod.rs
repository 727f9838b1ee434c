//! Pruning: snapshots that no rule names are removed, all at once or only while space is short.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustix::io::Errno;

use crate::error::{Cause, Error, Operation, Result};
use crate::stop::Stop;
use crate::store::layout::Layout;
use crate::store::record::Record;
use crate::store::retention::{Candidate, Rules, Verdict};
use crate::store::space::{Freed, KeepFree, Room};
use crate::store::{Held, removal};
use crate::text::Escaped;

/// How many complete snapshots, the newest ones, stay however short space is.
const NEVER_BELOW: usize = 7;
/// How many removals in a row that free nothing show that it is no help to remove snapshots.
const IN_VAIN: usize = 3;
/// They free nothing where together, without their manifests, it is less than this part of what was missing before them,
/// and less than this number of bytes.
const NEXT_TO_NOTHING: u64 = 100;
const LITTLE: u64 = 100 << 20;

/// Why the newest complete one stays.
const NEWEST: &str = "newest complete";

/// What to prune.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Prune {
    #[allow(missing_docs)]
    pub store: PathBuf,
    /// What stays.
    pub rules: Rules,
    /// What no rule names goes only until this much is free, the oldest first; the 7 newest complete ones never do.
    pub keep_free: Option<KeepFree>,
    /// The names of snapshots that go, also of those called by a time. With any the rules are not looked at.
    pub names: Vec<String>,
    /// The calendar.
    pub zone: TimeZone,
    /// Remove nothing, and tell what would go.
    pub dry_run: bool,
    /// Also where more than half of all are to go.
    pub force: bool,
    /// Wait while another run is at work in the store.
    pub wait: bool,
}

crate::options::with!(Prune);

impl Prune {
    /// The defaults for a store with these rules.
    pub fn new(store: impl Into<PathBuf>, rules: Rules) -> Self {
        Prune {
            store: store.into(),
            rules,
            keep_free: None,
            names: Vec::new(),
            zone: TimeZone::system(),
            dry_run: false,
            force: false,
            wait: false,
        }
    }
}

/// What becomes of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)]
pub struct Decision {
    pub snapshot: Record,
    pub verdict: Verdict,
}

/// What became of each snapshot, and the first errors.
pub(super) type Pruned = (Vec<Decision>, Vec<Error>);

/// Prunes a store. Returns what became of each snapshot, the oldest first, and the first errors of what could not be removed.
///
/// # Errors
/// When the store can't be used, or more than half of its snapshots were to go: nothing has gone then.
pub fn prune(prune: &Prune, stop: &Stop) -> Result<Pruned> {
    let layout = Layout::new(&prune.store);
    layout.require_ours()?;
    if !prune.dry_run {
        layout.close()?;
    }
    let mut held = Held::take(layout, prune.wait, stop)?;
    carry_out(prune, &mut held, stop)
}

/// The same in a store that is held.
pub(super) fn carry_out(prune: &Prune, held: &mut Held, stop: &Stop) -> Result<Pruned> {
    let mut decisions = decide(prune, held, None)?;
    spare_while_free(prune, held, &mut decisions, 0, stop)?;
    if prune.dry_run {
        return Ok((decisions, Vec::new()));
    }
    let mut errors = remove(prune, held, &mut decisions, 0, stop)?;
    if errors.is_empty() && !stop.is_stopped() {
        errors.extend(still_short(prune, held, &decisions)?);
    }
    Ok((decisions, errors))
}

/// What [`carry_out`] would do once there is one more snapshot, which may be named, and why it would not. Nothing is changed.
pub(super) fn foretell(prune: &Prune, held: &Held, named: bool, stop: &Stop) -> Result<Pruned> {
    let prune = Prune { dry_run: true, ..prune.clone() };
    let mut decisions = decide(&prune, held, Some(Candidate::new(Timestamp::now(), true, named)))?;
    // The next one is the newest then.
    for decision in &mut decisions {
        if reasons(decision) == [NEWEST] {
            decision.verdict = Verdict::Remove;
        }
    }
    spare_while_free(&prune, held, &mut decisions, 0, stop)?;
    let refused = too_many(&prune, &decisions, held.snapshots.len() + 1)
        .map(|why| Error::new(Operation::UseStore, held.layout.store(), Cause::Refused(why)));
    Ok((decisions, refused.into_iter().collect()))
}

/// Why one stays.
fn reasons(decision: &Decision) -> &[String] {
    match &decision.verdict {
        Verdict::Keep(reasons) => reasons,
        Verdict::Remove => &[],
    }
}

/// That less is free than [`Prune::keep_free`] wants, though all has gone that may.
fn still_short(prune: &Prune, held: &Held, decisions: &[Decision]) -> Result<Option<Error>> {
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

/// Removes what a run needs that found no room, `missing` bytes as far as that is known: what is not named by a rule when the
/// snapshot that it is to make, which may be `named`, counts as the newest one. The newest complete one there is stays.
pub(super) fn make_room(
    prune: &Prune,
    held: &mut Held,
    (missing, named): (u64, bool),
    stop: &Stop,
) -> Result<Pruned> {
    let mut decisions = decide(prune, held, Some(Candidate::new(Timestamp::now(), true, named)))?;
    spare_while_free(prune, held, &mut decisions, missing, stop)?;
    let errors = remove(prune, held, &mut decisions, missing, stop)?;
    Ok((decisions, errors))
}

/// How many bytes [`make_room`] would free.
pub(super) fn room_to_make(
    prune: &Prune,
    held: &Held,
    (missing, named): (u64, bool),
    stop: &Stop,
) -> Result<u64> {
    let mut decisions = decide(prune, held, Some(Candidate::new(Timestamp::now(), true, named)))?;
    spare_while_free(prune, held, &mut decisions, missing, stop)?;
    let mut freed = Freed::default();
    for decision in decisions.iter().filter(|decision| !decision.verdict.keeps()) {
        freed.add(&held.layout.snapshot(&decision.snapshot.name), stop);
    }
    Ok(freed.bytes)
}

fn decide(prune: &Prune, held: &Held, next: Option<Candidate>) -> Result<Vec<Decision>> {
    let decision = |snapshot: &Record, verdict| Decision { snapshot: snapshot.clone(), verdict };
    let newest = held.snapshots.iter().rev().find(|record| record.complete);
    if prune.names.is_empty() {
        let mut candidates: Vec<_> = held.snapshots.iter().map(Record::candidate).collect();
        candidates.extend(next);
        let verdicts = prune.rules.judge(&candidates, Timestamp::now(), &prune.zone);
        let judged = held.snapshots.iter().zip(verdicts).map(|(record, verdict)| match verdict {
            Verdict::Remove if newest == Some(record) => decision(record, Verdict::Keep(vec![NEWEST.into()])),
            verdict => decision(record, verdict),
        });
        return Ok(judged.collect());
    }
    let is_asked = |record: &Record| prune.names.contains(&record.name);
    if let Some(missing) =
        prune.names.iter().find(|name| !held.snapshots.iter().any(|record| record.name == **name))
    {
        let missing = Escaped::name(missing.as_ref());
        let why = format!("there is no snapshot {missing}: nothing is removed");
        return Err(Error::new(Operation::UseStore, &prune.store, Cause::Refused(why)));
    }
    if let Some(newest) = newest.filter(|newest| is_asked(newest)) {
        let name = Escaped::name(newest.name.as_ref());
        let why = format!(
            "{name} is the newest complete snapshot, which always stays: take another one before. Nothing is removed"
        );
        return Err(Error::new(Operation::UseStore, &prune.store, Cause::Refused(why)));
    }
    let judge = |record: &Record| match is_asked(record) {
        true => Verdict::Remove,
        false => Verdict::Keep(vec!["not asked for".into()]),
    };
    Ok(held.snapshots.iter().map(|record| decision(record, judge(record))).collect())
}

/// With [`Prune::keep_free`]: spares the newest complete ones, and what need not go since there is room. In what is removed
/// the room is measured again after each; in a dry run it is foretold, and so is where the removal would stop.
fn spare_while_free(
    prune: &Prune,
    held: &Held,
    decisions: &mut [Decision],
    missing: u64,
    stop: &Stop,
) -> Result<()> {
    let Some(keep_free) = prune.keep_free.filter(|_| prune.names.is_empty()) else { return Ok(()) };
    let complete = decisions.iter_mut().rev().filter(|decision| decision.snapshot.complete);
    for decision in complete.take(NEVER_BELOW).filter(|decision| !decision.verdict.keeps()) {
        decision.verdict = Verdict::Keep(vec![format!("one of the {NEVER_BELOW} newest complete")]);
    }
    let room = Room::of(held.layout.store())?;
    let wanted = keep_free.bytes(&room).saturating_add(missing);
    let most = most(prune, held.snapshots.len());
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
fn most(prune: &Prune, all: usize) -> usize {
    if prune.force { all } else { all / 2 }
}

/// Why nothing of what is decided is done, if it is not: more than half of all would go, and nobody has said yes to that.
pub fn refusal(prune: &Prune, decisions: &[Decision]) -> Option<String> {
    too_many(prune, decisions, decisions.len())
}

fn too_many(prune: &Prune, decisions: &[Decision], all: usize) -> Option<String> {
    let gone = decisions.iter().filter(|decision| !decision.verdict.keeps()).count();
    let by_space = prune.keep_free.is_some() && prune.names.is_empty();
    (gone * 2 > all && !prune.force && !by_space).then(|| {
        format!("{gone} of {all} snapshots would go, more than half: nothing is removed without --yes")
    })
}

/// Removes what is to go. Returns the first errors of what could not be removed, of which the verdict is another one then.
fn remove(
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
            (Err(error), Some(other)) if is_full(&error) && !stop.is_stopped() => {
                errors.extend(doom(held, other).err());
                errors.extend(emptied(held, stop));
            }
            // There is none, and the file system may have no symlinks: that is told in the end.
            (Err(_), _) if target.is_none() => return Ok(errors),
            (pointed, _) => return pointed.map(|()| errors),
        }
    }
}

fn is_full(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::NOSPC | Errno::DQUOT))
}

/// Takes one out of sight, and out of the record.
fn doom(held: &mut Held, record: &Record) -> Result<()> {
    let doomed = removal::doom(&held.layout, &held.layout.snapshot(&record.name));
    // What could not be flushed is out of sight all the same.
    if doomed.is_ok() || !held.layout.may_have(&record.name) {
        held.snapshots.retain(|kept| kept.name != record.name);
    }
    doomed
}

/// Removes what is out of sight. The first errors: what is gone is to be written down whatever came of that.
fn emptied(held: &Held, stop: &Stop) -> Vec<Error> {
    removal::empty(&held.layout, stop).unwrap_or_else(|error| vec![error])
}

fn remove_all(held: &mut Held, doomed: &[Record], stop: &Stop) -> Vec<Error> {
    let mut errors: Vec<Error> = doomed.iter().filter_map(|record| doom(held, record).err()).collect();
    // There may be no room for the record before.
    errors.extend(emptied(held, stop));
    errors
}

/// Removes one after the other, the oldest first, until enough is free, or it turns out that this is no help, or `most` of them
/// are gone. Returns also why the others stay.
fn remove_while_short(
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
