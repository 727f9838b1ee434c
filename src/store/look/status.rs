//! Whether a store is kept up, for those who watch it.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::error::Result;
use crate::store::layout::Layout;
use crate::store::look::find::{Found, View};
use crate::store::own::held;
use crate::store::retention::AHEAD;

/// How a store is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Status {
    /// The newest snapshot.
    pub newest: Option<Found>,
    /// The newest one of which nothing is missing.
    pub newest_complete: Option<String>,
    /// How long ago the newest one was begun; negative if the clock is behind it.
    pub age: Option<SignedDuration>,
    /// Snapshots dated more than an hour ahead of the clock.
    pub ahead: Vec<String>,
    /// A run is at work. `None`: this user may not know.
    pub at_work: Option<bool>,
    /// A run was broken off, and no other one has gone on from there yet.
    pub broken_off: bool,
    /// Others than its owner may write to the store, or to what the program keeps in it, or read the latter; or they can get
    /// into a store of root's, and change files of theirs in it.
    pub open_to_others: bool,
    /// How many snapshots have no record, though there may be one.
    pub unrecorded: usize,
    /// Why it is not well, the worst first; nothing if it is.
    pub troubles: Vec<Trouble>,
}

/// Why a store is not well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// There is no snapshot.
    None,
    /// The newest one is older than it may be.
    Old,
    /// How old the newest one is can't be known: it has no record, and no time for a name.
    AgeUnknown,
    /// Something is missing in the newest one.
    Partial,
    /// The newest one is dated ahead of the clock: how old it is nobody can tell.
    Ahead,
    /// Lines of the record can't be read: no snapshot is taken until it is made again.
    Damaged,
    /// Snapshots have no record: `prune` does not see them.
    Unrecorded,
    /// Others may change what is kept, and `take` refuses that.
    Open,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trouble::None => "no snapshot",
            Trouble::Old => "too old",
            Trouble::AgeUnknown => "of unknown age",
            Trouble::Partial => "partial",
            Trouble::Ahead => "dated ahead of the clock",
            Trouble::Damaged => "damaged record (`snapshot rebuild` makes it again)",
            Trouble::Unrecorded => "snapshots without a record (rebuild takes them in)",
            Trouble::Open => "others may change what is kept, so that take refuses the store",
        })
    }
}

/// Looks at a store, whose newest snapshot may be as old as this.
///
/// # Errors
/// When the store can't be used, or this user can't read its record.
pub fn status(store: &Path, max_age: Duration) -> Result<Status> {
    let view = View::open(store)?;
    if let Some(error) = view.closed() {
        let why = format!("how it is can't be told, since its record can't be read: {error}");
        return Err(view.refusal(why));
    }
    let now = Timestamp::now();
    let newest = view.snapshots.last().cloned();
    let age = newest.as_ref().and_then(|newest| Some(now.duration_since(newest.started?)));
    let is_ahead = |found: &&Found| found.started.is_some_and(|started| started.duration_since(now) > AHEAD);
    let ahead: Vec<String> = view.snapshots.iter().filter(is_ahead).map(|found| found.name.clone()).collect();
    let mut troubles = Vec::new();
    match &newest {
        None => troubles.push(Trouble::None),
        Some(newest) => {
            let old = age.is_some_and(|age| Duration::try_from(age).is_ok_and(|age| age > max_age));
            troubles.extend(old.then_some(Trouble::Old));
            troubles.extend(age.is_none().then_some(Trouble::AgeUnknown));
            troubles.extend(newest.is_partial().then_some(Trouble::Partial));
            troubles.extend(ahead.contains(&newest.name).then_some(Trouble::Ahead));
        }
    }
    troubles.extend(view.damage().next().map(|_| Trouble::Damaged));
    let layout = &view.layout;
    let unrecorded = view.without_record();
    troubles.extend((unrecorded > 0).then_some(Trouble::Unrecorded));
    troubles.extend(layout.is_refused_to_owner().then_some(Trouble::Open));
    let at_work = is_at_work(layout);
    Ok(Status {
        newest_complete: view.newest_complete().map(|complete| complete.name.clone()),
        broken_off: at_work != Some(true)
            && [layout.incomplete(), layout.broken_off()].iter().any(|path| path.symlink_metadata().is_ok()),
        open_to_others: layout.is_open_to_others() || layout.lets_others_in() || is_open(layout),
        newest,
        age,
        ahead,
        at_work,
        unrecorded,
        troubles,
    })
}

/// Whether others may read or write what is ours in a store.
fn is_open(layout: &Layout) -> bool {
    std::fs::symlink_metadata(layout.own("")).is_ok_and(|stat| stat.mode() & 0o077 != 0)
}

/// Whether a run holds the lock. To ask for it together with others takes it for a moment, which runs wait for.
fn is_at_work(layout: &Layout) -> Option<bool> {
    let lock = match held::open(&layout.own("lock")) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Some(false),
        lock => lock.ok()?,
    };
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Some(false),
        Err(Errno::WOULDBLOCK) => Some(true),
        Err(_) => None,
    }
}
