//! What came of taking a snapshot.

use crate::error::{Cause, Error, Outcome, Result};
use crate::event::{Reporter, Summary};
use crate::store::prune::{Decision, Pruned};
use crate::store::record::Record;
use crate::store::shortage::{MadeRoom, NoRoom};
use crate::store::unfit::Unfit;

/// What came of it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Taken {
    /// Of the run.
    pub summary: Summary,
    /// The snapshot, if there is one: none of a run that was broken off, which the next one goes on with.
    pub snapshot: Option<Record>,
    /// Why there is none, though the run came to its end.
    pub unfit: Option<Unfit>,
    /// What the snapshot before was taken of, if that is something else.
    pub other_sources: Option<Vec<String>>,
    /// Others can write to the store, and may change what is kept in it.
    pub open_to_others: bool,
    /// Others could read or change what the program keeps in the store, and can no longer.
    pub closed: bool,
    /// The store is root's, and others can get into it: who owns a file of a source can change it in all snapshots.
    pub lets_others_in: bool,
    /// What could not be done any more when the snapshot had its name: the record, or `latest`, lacks it.
    pub undone: Vec<Error>,
    /// How many trees that runs which were broken off had left were removed, since there was no room for them.
    pub dropped: usize,
    /// The names of snapshots that the record had, and of which there was no directory any more.
    pub gone: Vec<String>,
    /// That the record's last line was cut off, and what to do.
    pub cut: Option<Error>,
    /// The first errors of what runs that were broken off had left, and could not be removed.
    pub left: Vec<Error>,
    /// Earlier snapshots that were not put on stable storage before the machine was started anew: their files were compared by
    /// contents.
    pub doubted: Vec<String>,
    /// What became of each snapshot where [`Take::prune`](crate::store::Take::prune) was carried out, or would become of it in
    /// a dry run, and why it was not, or not all of it.
    pub pruned: Vec<Decision>,
    #[allow(missing_docs)]
    pub prune_errors: Vec<Error>,
    /// What would make room, where there was none.
    pub no_room: Option<NoRoom>,
}

impl Taken {
    pub(super) fn new(summary: Summary, open_to_others: bool) -> Self {
        Taken {
            summary,
            snapshot: None,
            unfit: None,
            other_sources: None,
            open_to_others,
            closed: false,
            lets_others_in: false,
            undone: Vec::new(),
            dropped: 0,
            gone: Vec::new(),
            cut: None,
            left: Vec::new(),
            doubted: Vec::new(),
            pruned: Vec::new(),
            prune_errors: Vec::new(),
            no_room: None,
        }
    }

    /// Takes note of why it is no snapshot. Returns whether it is none.
    pub(super) fn refuse(&mut self, unfit: Option<Unfit>) -> bool {
        self.unfit = unfit;
        if self.unfit.is_some() {
            self.summary.outcome = self.summary.outcome.max(Outcome::DeletionRefused);
        }
        self.unfit.is_some()
    }

    /// Of a run that could not begin again, or come to its end, after there was made room for it.
    pub(super) fn broken_off_by(mut self, error: Error, reporter: &mut dyn Reporter) -> Self {
        reporter.error(&error);
        self.summary.outcome = self.summary.outcome.max(Outcome::BrokenOff);
        self.summary.totals.errors += 1;
        self.summary.errors.push(error);
        self
    }

    /// The error, or what there is to tell beside it.
    pub(super) fn failed(self, error: Error, reporter: &mut dyn Reporter) -> Result<Self> {
        match self.pruned.is_empty() && self.dropped == 0 && self.left.is_empty() {
            true => Err(error),
            false => Ok(self.broken_off_by(error, reporter)),
        }
    }

    pub(super) fn note_room(&mut self, room: MadeRoom) {
        self.dropped += room.dropped;
        room.pruned.into_iter().for_each(|made| self.note_pruned(made));
    }

    /// The worse of what the run came to and of what pruning came to.
    pub fn outcome(&self) -> Outcome {
        let late = self.prune_errors.iter().chain(&self.undone);
        let late = late.map(|error| error.outcome().max(Outcome::Failed)).max();
        self.summary.outcome.max(late.unwrap_or_default())
    }

    pub(super) fn note_pruned(&mut self, pruned: Result<Pruned>) {
        match pruned {
            Ok((decisions, errors)) => {
                self.pruned.extend(decisions);
                self.prune_errors.extend(errors);
            }
            Err(error) => {
                // What was refused before there was a snapshot is refused again, in other figures, or is not.
                let is_refused = |error: &Error| matches!(error.cause, Cause::Refused(_));
                self.prune_errors.retain(|earlier| !(is_refused(earlier) && is_refused(&error)));
                self.prune_errors.push(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Operation;
    use crate::event::Totals;

    #[test]
    fn what_is_refused_twice_is_told_once() {
        let refused = |why: &str| Error::new(Operation::UseStore, "store", Cause::Refused(why.into()));
        let mut taken = Taken::new(Summary::new(Outcome::Done, Totals::default()), false);
        taken.note_pruned(Err(refused("3 of 4 snapshots would go")));
        taken.note_pruned(Err(Error::new(Operation::Remove, "store", rustix::io::Errno::ACCESS)));
        taken.note_pruned(Err(refused("4 of 5 snapshots would go")));
        let told: Vec<String> = taken.prune_errors.iter().map(ToString::to_string).collect();
        assert!(told.len() == 2 && told[1].contains("4 of 5"), "{told:?}");
    }
}
