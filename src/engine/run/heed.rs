//! What the error of an entry means for the run.

use crate::engine::Run;
use crate::engine::state::directory::Directory;
use crate::error::{Cause, Error};
use crate::event::EntryEvent;

/// Whether an entry's error only says that the directory in its place has to be deleted first.
pub(crate) fn is_in_the_way(event: &EntryEvent, directory: &Directory, run: &Run) -> bool {
    let makes_way = run.config.force || run.config.delete.is_some() && !directory.implied;
    makes_way && event.error.as_ref().is_some_and(|error| matches!(error.cause, Cause::DirectoryInTheWay))
}

/// Takes note of an error that keeps the mirror of a directory from being whole: nothing is deleted below it. One that
/// only lacks its owner and mode is whole, and what is extra in it may be all that it lacks them for.
pub(crate) fn heed(event: &EntryEvent, directory: &Directory, run: &Run) {
    if event.error.is_some() {
        directory.mark_doubtful();
    }
    let of_destination =
        |error: &Error| !error.operation.reads_source() && !matches!(error.cause, Cause::Withheld(_));
    if run.protects_below() && event.error.as_deref().is_some_and(of_destination) {
        run.deletions.protect(directory.path());
    }
}
