//! `--fsync`: what was made is on stable storage before it is said to be. A file's data and metadata are flushed before
//! it gets its name (engine/entry/copy_file.rs), by as many tasks at once as there are; the names of a batch with one
//! flush of their directory; and in the end the file systems, for all that has no descriptor to flush it by (symlinks,
//! the metadata of what was there already).
//!
//! What can't be flushed costs nothing else (engine/run/flushed.rs), but nothing is then said to be durable.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::io::Errno;

use crate::engine::Run;
use crate::engine::run::flushed::flush_directory;
use crate::engine::run::lane::Lane;
use crate::engine::state::directory::Directory;
use crate::engine::state::pair::Pair;
use crate::error::{Context, Error, Operation, Result};
use crate::event::{Action, EntryEvent, Event, Notice};

/// Whether an entry has a new name, or a name for something new.
pub(crate) fn is_new(event: &EntryEvent) -> bool {
    matches!(event.action, Action::Created | Action::Updated | Action::Linked) && event.error.is_none()
}

/// Puts the names in a directory on stable storage, and those of the directories above. Returns whether they are there;
/// what went wrong has been reported.
pub(crate) async fn flush_names(directory: &Arc<Directory>, pair: &Pair, lane: &Lane) -> bool {
    let Some(destination) = &pair.destination else { return false };
    let path = || lane.run.destination_path(&directory.path());
    let flushed = match flush_directory(destination, lane, path).await {
        Ok(()) => flush_names_above(directory, lane).await,
        failed => failed,
    };
    match flushed {
        Ok(()) => lane.run.file_systems.flushes_all(),
        Err(error) => {
            fail(error, &lane.run).await;
            false
        }
    }
}

/// Puts the names of a directory, and of those above it, on stable storage, once a run.
async fn flush_names_above(directory: &Arc<Directory>, lane: &Lane) -> Result<()> {
    let mut flushed = Vec::new();
    let mut directory = directory;
    while let Some(parent) = directory.parent() {
        if directory.name_is_durable.load(Ordering::Acquire) {
            break;
        }
        let path = || lane.run.destination_path(&parent.path());
        let pair = parent.open(lane).await.ok_or(Errno::NOENT).at(Operation::Flush, path)?;
        if let Some(destination) = &pair.destination {
            flush_directory(destination, lane, path).await?;
        }
        flushed.push(directory);
        directory = parent;
    }
    // Not before all are: another task takes one for the word on all above it.
    flushed.iter().for_each(|directory| directory.name_is_durable.store(true, Ordering::Release));
    Ok(())
}

/// Ends a run: everything on the file systems of the destination is on stable storage, or the run has failed.
pub(crate) async fn flush_all(run: &Arc<Run>) {
    let all = run.clone();
    let flushed = tokio::task::spawn_blocking(move || all.file_systems.flush()).await;
    match flushed.unwrap_or(Err(Errno::IO)).at(Operation::Flush, || run.destination_path("".as_ref())) {
        Ok(None) if run.file_systems.flushes_all() => run.report(Event::Durable).await,
        Ok(None) => {}
        Ok(Some(errno)) => run.report(Event::Notice(Notice::FlushedAtLarge { why: errno.into() })).await,
        Err(error) => fail(error, run).await,
    }
}

/// What the kernel could not write back is lost, and it does not say whose it was: the run is over.
async fn fail(error: Error, run: &Run) {
    run.abandon();
    run.report(Event::Failed(error)).await;
}
