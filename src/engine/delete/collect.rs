//! `--delete`: what the destination has beyond the source is collected when a directory is done, and removed when all
//! are: only then it is known how much that is, and what of the source could not be read.

use std::sync::Arc;

use crate::engine::Run;
use crate::engine::delete::extras::Done;
use crate::engine::delete::removal::{Doing, Removal};
use crate::engine::delete::replace::{self, Stuck};
use crate::engine::delete::settled::keep_settled;
use crate::engine::run::blocking::in_thread;
use crate::engine::run::lane::Lane;
use crate::engine::state::deletions::Doomed;
use crate::engine::state::directory::Directory;
use crate::engine::state::pair::Pair;
use crate::engine::state::watched::Watched;
use crate::error::{Cause, Error, Operation, Result};
use crate::event::Event;
use crate::options::Delete;
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
    let Some(delete) = lane.run.config.delete else { return };
    let (doomed, waiting, in_vain) = lane.run.deletions.take();
    let watched = lane.watched.clone();
    let removed = in_thread(lane, move |run| {
        let watched = watched.as_deref();
        let doomed = keep_settled(run, doomed);
        let (ready, stuck, count) = replace::judge_all(run, waiting, watched);
        let judged = may_delete(run, &doomed, count, delete, watched);
        if judged.is_ok() {
            Removal::of(run, doing(run)).watched(watched).run(&doomed);
        }
        Ok((ready, stuck, judged))
    });
    let (ready, mut stuck, judged) = match removed.await {
        Ok(removed) => removed,
        Err(error) => return lane.run.report(Event::Failed(error)).await,
    };
    stuck.extend(in_vain.into_iter().map(Stuck::from));
    if let Err(error) = judged {
        lane.run.report(Event::Failed(error)).await;
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

/// Whether all of this may be deleted, together with the entries that are in the way of others; the error says why not.
fn may_delete(
    run: &Run,
    doomed: &[Doomed],
    in_the_way: u64,
    delete: Delete,
    watched: Option<&Watched>,
) -> Result<()> {
    let refused = |cause| Err(Error::new(Operation::Delete, &run.config.destination, cause));
    let extra: u64 = doomed.iter().map(|doomed| doomed.names().count() as u64).sum();
    let count = match delete.limit {
        Some(_) => {
            let counted = Removal::of(run, Doing::Count).watched(watched).run(doomed);
            if let Some(trouble) = counted.trouble {
                return refused(Cause::Uncounted(Box::new(trouble)));
            }
            counted.count
        }
        None => extra,
    };
    // What is in extra directories has not been listed before.
    let entries = run.deletions.listed() + in_the_way + count.saturating_sub(extra);
    let empty = run.deletions.source_is_empty();
    match judge(count + in_the_way, entries, empty, delete.allow_empty_source, delete.limit) {
        None => Ok(()),
        Some(Refusal::EmptySource) => refused(Cause::EmptySource),
        Some(Refusal::TooMany) => refused(Cause::TooManyDeletions(count + in_the_way)),
    }
}

/// A dry run only tells.
pub(crate) fn doing(run: &Run) -> Doing {
    if run.config.writes() { Doing::Remove } else { Doing::Show }
}
