//! `--delete`: what the destination has beyond the source is collected when a directory is done, and removed when all
//! are: only then it is known how much that is, and what of the source could not be read. What is removed before anything is
//! copied (ahead.rs) is judged here too.

use std::sync::Arc;

use crate::engine::Run;
use crate::engine::delete::extras::Done;
use crate::engine::delete::removal::{Doing, Removal};
use crate::engine::delete::replace::{self, Stuck};
use crate::engine::delete::settled::keep_settled;
use crate::engine::delete::unread;
use crate::engine::run::blocking::in_thread;
use crate::engine::run::lane::Lane;
use crate::engine::state::deletions::Doomed;
use crate::engine::state::directory::Directory;
use crate::engine::state::pair::Pair;
use crate::engine::state::watched::Watched;
use crate::error::{Cause, Error, Operation, Result};
use crate::event::{Event, Notice};
use crate::options::{Delete, DeleteLimit, Unread};
use crate::plan::delete::{Refusal, judge};

/// Takes note of what the mirror of a directory, which is done, has beyond it.
pub(crate) async fn collect(directory: &Directory, pair: &Arc<Pair>, lane: &Lane) {
    if pair.fresh {
        return;
    }
    let done = Done::new(directory, pair, lane);
    let listed = in_thread(lane, move |run| {
        if let Some(doomed) = done.extras(run)? {
            run.deletions.add(doomed);
        }
        Ok(())
    });
    if let Err(error) = listed.await {
        lane.run.report(Event::Failed(error)).await;
    }
}

/// Removes what was collected, if it may be. All directories are done, but for the root's own end.
pub(crate) async fn carry_out(lane: &Lane) {
    let config = &lane.run.config;
    // What is in the way goes without a guard where nothing else does.
    let forced = || Delete { allow_empty_source: true, ..Delete::default() };
    let Some(delete) = config.delete.or_else(|| config.force.then(forced)) else { return };
    let watched = lane.watched.clone();
    let removed = in_thread(lane, move |run| {
        let watched = watched.as_deref();
        unread::collect(run);
        let (doomed, waiting, in_vain) = run.deletions.take();
        let mut doomed = keep_settled(run, doomed);
        let (ready, stuck, count) = replace::judge_all(run, waiting, watched);
        if holds_back(run, delete) {
            doomed.clear();
        }
        let judged = may_delete(run, &doomed, count, delete, watched);
        let removed = if judged.is_ok() { remove(run, doomed, delete, watched) } else { 0 };
        let Some(DeleteLimit::First(most)) = delete.limit else { return Ok((ready, stuck, judged, in_vain)) };
        let left = most.saturating_sub(run.deletions.begun().count + removed);
        let (ready, beyond) = replace::Ready::within(ready, left);
        Ok((ready, stuck.into_iter().chain(beyond).collect(), judged, in_vain))
    });
    let (ready, mut stuck, judged, in_vain) = match removed.await {
        Ok(removed) => removed,
        Err(error) => return lane.run.report(Event::Failed(error)).await,
    };
    stuck.extend(in_vain.into_iter().map(Stuck::from));
    let is_refused = lane.run.deletions.begun().refused;
    if judged.is_err() || is_refused {
        if let Err(error) = judged {
            lane.run.report(Event::Failed(error)).await;
        }
        stuck.extend(ready.into_iter().map(|ready| Stuck::from(ready.waiting)));
    } else {
        for ready in ready {
            if lane.run.stop.is_stopped() {
                return;
            }
            replace::replace(&ready, lane).await;
        }
    }
    for stuck in stuck {
        replace::refuse(stuck, lane).await;
    }
}

/// Whether nothing is deleted, since something could not be read: that is told.
pub(super) fn holds_back(run: &Run, delete: Delete) -> bool {
    let holds = delete.unread == Unread::ProtectsAll && run.deletions.has_read_failed();
    let is_told = run.deletions.begun().held_back;
    if holds && !is_told && run.config.delete.is_some() {
        run.report_blocking(Event::Notice(Notice::NothingDeleted));
    }
    holds
}

/// Removes what may be removed, or as much of it as may be. Returns how many entries.
pub(super) fn remove(run: &Run, mut doomed: Vec<Doomed>, delete: Delete, watched: Option<&Watched>) -> u64 {
    let removal = Removal::of(run, doing(run)).watched(watched);
    let Some(DeleteLimit::First(most)) = delete.limit else { return removal.run(&doomed).count };
    // The stack gives the last one first.
    doomed.sort_unstable_by(|one, other| other.path.cmp(&one.path));
    let removed = removal.first(most).run(&doomed);
    if removed.skipped > 0 {
        let cause = Cause::DeletionsStopped(removed.skipped);
        run.report_blocking(Event::Failed(Error::new(Operation::Delete, &run.config.destination, cause)));
    }
    removed.count
}

/// Whether all of this may be deleted, together with the entries that are in the way of others; the error says why not.
pub(super) fn may_delete(
    run: &Run,
    doomed: &[Doomed],
    in_the_way: u64,
    delete: Delete,
    watched: Option<&Watched>,
) -> Result<()> {
    let refused = |cause| Err(Error::new(Operation::Delete, &run.config.destination, cause));
    let extra: u64 = doomed.iter().map(|doomed| doomed.names().count() as u64).sum();
    let count = match delete.limit {
        Some(DeleteLimit::Entries(_) | DeleteLimit::Percent(_)) => {
            let counted = Removal::of(run, Doing::Count).watched(watched).run(doomed);
            if let Some(trouble) = counted.trouble {
                return refused(Cause::Uncounted(Box::new(trouble)));
            }
            counted.count
        }
        Some(DeleteLimit::First(_)) | None => extra,
    };
    // What is in extra directories has not been listed before.
    let entries = run.deletions.listed() + in_the_way + count.saturating_sub(extra);
    let count = count + in_the_way + run.deletions.begun().count;
    let empty = run.deletions.source_is_empty();
    match judge(count, entries, empty, delete.allow_empty_source, delete.limit) {
        None => Ok(()),
        Some(Refusal::EmptySource) => refused(Cause::EmptySource),
        Some(Refusal::TooMany) => refused(Cause::TooManyDeletions(count)),
    }
}

/// A dry run only tells.
pub(crate) fn doing(run: &Run) -> Doing {
    if run.config.writes() { Doing::Remove } else { Doing::Show }
}
