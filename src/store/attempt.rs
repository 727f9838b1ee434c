//! One run of the engine for a snapshot.

use std::path::Path;

use jiff::Timestamp;

use crate::error::{Cause, Context, Error, Operation, Outcome, Result};
use crate::event::{Both, EntryEvent, JsonPath, Reporter, Summary};
use crate::stop::Stop;
use crate::store::hashes::journal::{Head, Journal};
use crate::store::take::Take;
use crate::store::{Held, clones, earlier, mounted};

/// As many paths that are missing are kept.
const KEPT: usize = 100;

/// What it came to.
pub(super) struct Attempt {
    pub(super) started: Timestamp,
    /// Something is missing in what it has written.
    pub(super) is_partial: bool,
    /// The first paths that are.
    pub(super) missing: Vec<JsonPath>,
    pub(super) summary: Summary,
    pub(super) journal: Journal,
}

impl Attempt {
    /// Writes to `incomplete`. What a run that was broken off had written there is among the earlier trees then.
    pub(super) fn make(take: &Take, held: &Held, reporter: &mut dyn Reporter, stop: &Stop) -> Result<Self> {
        let earlier = earlier::trees(held)?;
        let incomplete = held.layout.incomplete();
        let mut config = take.run.clone();
        config.destination.clone_from(&incomplete);
        config.reuse = clones::reuse(&held.layout, take.clone)?;
        (config.delete, config.backup, config.fsync) = (None, None, false);
        config.link_dest = earlier.iter().map(|tree| tree.path.clone()).collect();
        let doubted = (0..).zip(&earlier).filter(|(_, tree)| tree.is_doubted);
        config.salvage = Some(doubted.map(|(number, _)| number).collect());
        let earlier = earlier.into_iter().map(|tree| tree.manifest).collect();
        let head = Head { earlier, mounted: mounted::identity(held.layout.store()) };
        let mut journal = Journal::create(&held.layout.journal(), &head)?;
        if take.run.sources.is_some() {
            std::fs::create_dir(&incomplete).at(Operation::Create, || &incomplete)?;
        }
        let started = Timestamp::now();
        let mut missing = Missing::default();
        let summary =
            crate::engine::sync(&config, &mut Both(reporter, Both(&mut missing, &mut journal)), stop);
        let summary = summary.inspect_err(|_| drop(std::fs::remove_dir(&incomplete)))?;
        let Missing { is_partial, paths } = missing;
        Ok(Attempt { started, is_partial, missing: paths, summary, journal })
    }
}

/// Takes note of whether something is missing in the end. What vanished is not: it is not in the source.
#[derive(Default)]
struct Missing {
    is_partial: bool,
    paths: Vec<JsonPath>,
}

impl Missing {
    fn note(&mut self, error: &Error) -> bool {
        let is_missing = !matches!(error.cause, Cause::NotKept(_)) && error.outcome() != Outcome::Vanished;
        self.is_partial |= is_missing;
        is_missing
    }
}

impl Reporter for Missing {
    fn entry(&mut self, directory: &Path, event: &EntryEvent) {
        let Some(error) = &event.error else { return };
        if self.note(error) && self.paths.len() < KEPT {
            self.paths.push(JsonPath::new(&directory.join(event.name())));
        }
    }

    fn error(&mut self, error: &Error) {
        self.note(error);
    }
}
