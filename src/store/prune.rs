//! Pruning: snapshots that no rule names are removed.

use std::path::PathBuf;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::error::{Cause, Error, Operation, Result};
use crate::stop::Stop;
use crate::store::layout::Layout;
use crate::store::record::Record;
use crate::store::retention::{Rules, Verdict};
use crate::store::{Held, removal};

/// What to prune.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Prune {
    #[allow(missing_docs)]
    pub store: PathBuf,
    /// What stays.
    pub rules: Rules,
    /// Named snapshots that go. With any the rules are not looked at.
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

/// Prunes a store. Returns what became of each snapshot, the oldest first, and the first errors of what could not be removed.
///
/// # Errors
/// When the store can't be used, or more than half of its snapshots were to go: nothing has gone then.
pub fn prune(prune: &Prune, stop: &Stop) -> Result<(Vec<Decision>, Vec<Error>)> {
    let layout = Layout::new(&prune.store);
    layout.require_ours()?;
    let mut held = Held::take(layout, prune.wait, stop)?;
    let mut decisions = decide(prune, &held)?;
    if prune.dry_run {
        return Ok((decisions, Vec::new()));
    }
    let goes = |decision: &&Decision| !decision.verdict.keeps();
    let doomed: Vec<Record> =
        decisions.iter().filter(goes).map(|decision| decision.snapshot.clone()).collect();
    if doomed.len() * 2 > held.snapshots.len() && !prune.force {
        let (gone, all) = (doomed.len(), held.snapshots.len());
        let why = format!("{gone} of {all} snapshots would go: nothing is removed");
        return Err(Error::new(Operation::UseStore, &prune.store, Cause::Refused(why)));
    }
    if doomed.is_empty() {
        return Ok((decisions, removal::empty(&held.layout, stop)?));
    }
    // The link never leads to what is gone.
    let is_doomed = |record: &Record| doomed.iter().any(|doomed| doomed.sequence == record.sequence);
    if let Some(newest) = held.snapshots.iter().rev().find(|record| !is_doomed(record)) {
        held.layout.point_latest_at(&newest.name)?;
    }
    let mut errors = Vec::new();
    for record in &doomed {
        match removal::doom(&held.layout, &held.layout.snapshot(&record.name)) {
            Ok(()) => held.snapshots.retain(|kept| kept.sequence != record.sequence),
            Err(error) => errors.push(error),
        }
    }
    // There may be no room for the record before.
    errors.extend(removal::empty(&held.layout, stop)?);
    held.write_down()?;
    for decision in &mut decisions {
        if !decision.verdict.keeps() && held.snapshots.contains(&decision.snapshot) {
            decision.verdict = Verdict::Keep(vec!["it could not be removed".into()]);
        }
    }
    Ok((decisions, errors))
}

fn decide(prune: &Prune, held: &Held) -> Result<Vec<Decision>> {
    let decision = |snapshot: &Record, verdict| Decision { snapshot: snapshot.clone(), verdict };
    if prune.names.is_empty() {
        let candidates: Vec<_> = held.snapshots.iter().map(Record::candidate).collect();
        let verdicts = prune.rules.judge(&candidates, Timestamp::now(), &prune.zone);
        return Ok(held
            .snapshots
            .iter()
            .zip(verdicts)
            .map(|(record, verdict)| decision(record, verdict))
            .collect());
    }
    let is_asked = |record: &Record| prune.names.contains(&record.name);
    if let Some(missing) =
        prune.names.iter().find(|name| !held.snapshots.iter().any(|record| record.name == **name))
    {
        let why = format!("there is no snapshot {missing}");
        return Err(Error::new(Operation::UseStore, &prune.store, Cause::Refused(why)));
    }
    let newest = held.snapshots.iter().rev().find(|record| record.complete);
    let judge = |record: &Record| match (is_asked(record), newest == Some(record)) {
        (true, false) => Verdict::Remove,
        (true, true) => Verdict::Keep(vec!["newest complete".into()]),
        (false, _) => Verdict::Keep(vec!["not asked for".into()]),
    };
    Ok(held.snapshots.iter().map(|record| decision(record, judge(record))).collect())
}
