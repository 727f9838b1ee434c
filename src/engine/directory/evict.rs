//! Where descriptors are scarce: directories that nobody works in are closed, and opened again by their names when they
//! are needed.

use std::sync::Arc;

use crate::engine::Run;
use crate::engine::run::lane::Lane;
use crate::engine::state::directory::{Directory, State};
use crate::engine::state::pair::{Evicted, Pair};
use crate::error::{Cause, Context, Error, Operation, Result};

impl Directory {
    /// Opens an evicted one by its name. It must be the one it was: others may have moved it meanwhile.
    pub(crate) async fn open_again(&self, evicted: &Evicted, parent: &Pair, lane: &Lane) -> Result<Pair> {
        let path = || lane.run.source_path(&self.path());
        let source = self.hold_source(parent, lane).await.at(Operation::OpenSource, path)?;
        let path = || lane.run.destination_path(&self.path());
        let destination = match &parent.destination {
            Some(within) if evicted.has_destination() => {
                let opened = self.open_mirror(within, lane).await;
                Some(Arc::new(opened.at(Operation::OpenDestination, path)?.0))
            }
            _ => None,
        };
        if evicted.is(&source, destination.as_ref()).at(Operation::StatDestination, path)? {
            Ok(evicted.resume(Arc::new(source), destination))
        } else {
            Err(Error::new(Operation::OpenDestination, path(), Cause::DirectoryReplaced))
        }
    }

    /// Closes the directories above that nobody works in.
    pub(crate) fn evict_above(&self, run: &Run) {
        evict(self.parent(), self.depth, run);
    }

    /// Somebody is done with some of it: closes it, and those above, if nobody else works in them.
    pub(crate) fn evict_idle(self: &Arc<Self>, run: &Run) {
        if run.directories.are_too_many() {
            evict(Some(self), self.depth, run);
        }
    }

    /// Closes it, unless somebody works in it. Returns whether it is closed now, and was open.
    fn evict(&self, run: &Run) -> bool {
        let Ok(mut state) = self.state.try_lock() else { return false };
        if let State::Open(pair) = &*state
            && Arc::strong_count(pair) == 1
            && !pair.is_provisional()
            && let Ok(evicted) = pair.evict()
        {
            *state = State::Evicted(evicted);
            run.directories.closed();
            return true;
        }
        false
    }
}

/// Closes directories, upwards from the first one, for one of this depth. Some stay open, so that the way down to one
/// that is needed again is short.
fn evict(first: Option<&Arc<Directory>>, depth: usize, run: &Run) {
    let reach = run.directories.reach(depth);
    let (mut next, mut fruitless) = (first, 0);
    while let Some(directory) = next.filter(|_| fruitless < reach) {
        let evicted = !run.directories.stays_open(directory.depth, depth) && directory.evict(run);
        fruitless = if evicted { 0 } else { fruitless + 1 };
        next = directory.parent();
    }
}
