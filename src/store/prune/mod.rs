//! Pruning: snapshots that no rule names are removed, all at once or only while space is short.

pub(super) mod removal;
mod remove;
mod short;

use std::path::PathBuf;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::error::{Cause, Error, Operation, Result};
use crate::stop::Stop;
use crate::store::Held;
use crate::store::layout::Layout;
use crate::store::prune::remove::remove;
use crate::store::prune::short::{Need, spare_while_free, still_short};
use crate::store::record::Record;
use crate::store::retention::{Candidate, Rules, Verdict};
use crate::store::space::{Freed, KeepFree};
use crate::text::Escaped;

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
    spare_while_free(prune, held, &mut decisions, Need::default(), stop)?;
    if prune.dry_run {
        return Ok((decisions, Vec::new()));
    }
    let mut errors = remove(prune, held, &mut decisions, 0, stop)?;
    if errors.is_empty() && !stop.is_stopped() {
        errors.extend(still_short(prune, held, &decisions)?);
    }
    Ok((decisions, errors))
}

/// What [`carry_out`] would do once there is one more snapshot, which may be named and takes this number of bytes, and why it
/// would not. Nothing is changed.
pub(super) fn foretell(
    prune: &Prune,
    held: &Held,
    (bytes, named): (u64, bool),
    stop: &Stop,
) -> Result<Pruned> {
    let prune = Prune { dry_run: true, ..prune.clone() };
    let mut decisions = decide(&prune, held, Some(Candidate::new(Timestamp::now(), true, named)))?;
    // The next one is the newest then.
    for decision in &mut decisions {
        if reasons(decision) == [NEWEST] {
            decision.verdict = Verdict::Remove;
        }
    }
    spare_while_free(&prune, held, &mut decisions, Need { bytes, coming: 1 }, stop)?;
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

/// Removes what a run needs that found no room, `missing` bytes as far as that is known: what is not named by a rule when the
/// snapshot that it is to make, which may be `named`, counts as the newest one. The newest complete one there is stays.
pub(super) fn make_room(
    prune: &Prune,
    held: &mut Held,
    (missing, named): (u64, bool),
    stop: &Stop,
) -> Result<Pruned> {
    let mut decisions = decide(prune, held, Some(Candidate::new(Timestamp::now(), true, named)))?;
    spare_while_free(prune, held, &mut decisions, Need { bytes: missing, coming: 0 }, stop)?;
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
    spare_while_free(prune, held, &mut decisions, Need { bytes: missing, coming: 0 }, stop)?;
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
