//! `--fsync`: what was made is on stable storage before it is said to be. A file's data and metadata are flushed before
//! it gets its name (copy_file.rs), by as many tasks at once as there are; the names of a batch with one flush of their
//! directory; and in the end the file systems, for all that has no descriptor to flush it by (symlinks, the metadata of
//! what was there already).

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;

use crate::engine::Run;
use crate::engine::directory::Directory;
use crate::engine::pair::Pair;
use crate::engine::worker::Lane;
use crate::error::{Context, Error, Operation, Result};
use crate::event::{Action, EntryEvent, Event};
use crate::stat::{Stat, stat_open};

/// The file systems that the destination lies on, each with a directory of it.
#[derive(Default)]
pub(crate) struct FileSystems(Mutex<HashMap<u64, Arc<OwnedFd>>>);

impl FileSystems {
    /// Takes note of a directory's file system.
    pub(crate) fn add(&self, directory: &Arc<OwnedFd>, stat: &Stat) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(stat.inode.device).or_insert_with(|| directory.clone());
    }

    fn flush(&self) -> rustix::io::Result<()> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().try_for_each(|directory| {
            rustix::fs::syncfs(directory)?;
            check_alive(directory)
        })
    }
}

/// Whether an entry has a new name, or a name for something new.
pub(crate) fn is_new(event: &EntryEvent) -> bool {
    matches!(event.action, Action::Created | Action::Updated | Action::Linked) && event.error.is_none()
}

/// Puts the names in a directory on stable storage, and those of the directories above. Returns whether they are there;
/// what went wrong has been reported.
pub(crate) async fn flush_names(directory: &Arc<Directory>, pair: &Pair, lane: &Lane) -> bool {
    let Some(destination) = &pair.destination else { return false };
    let path = || lane.run.destination_path(&directory.path());
    let flushed = match flush_directory(destination, lane).await.at(Operation::Flush, path) {
        Ok(()) => flush_names_above(directory, lane).await,
        failed => failed,
    };
    match flushed {
        Ok(()) => true,
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
            flush_directory(destination, lane).await.at(Operation::Flush, path)?;
        }
        flushed.push(directory);
        directory = parent;
    }
    // Not before all are: another task takes one for the word on all above it.
    flushed.iter().for_each(|directory| directory.name_is_durable.store(true, Ordering::Release));
    Ok(())
}

/// Some file systems have nothing to flush of a directory, and say so.
async fn flush_directory(directory: &Arc<OwnedFd>, lane: &Lane) -> rustix::io::Result<()> {
    match lane.io.flush(directory).await {
        Err(Errno::INVAL | Errno::OPNOTSUPP) => {}
        other => other?,
    }
    check_alive(directory)
}

/// xfs that has shut itself down, since its disk failed, has dropped the names it had not written: there is nothing to
/// flush any more, and fsync(2) of a directory succeeds. A stat tells.
fn check_alive(directory: &OwnedFd) -> rustix::io::Result<()> {
    stat_open(directory).map(drop)
}

/// Ends a run: everything on the file systems of the destination is on stable storage, or the run has failed.
pub(crate) async fn flush_all(run: &Arc<Run>) {
    let all = run.clone();
    let flushed = tokio::task::spawn_blocking(move || all.file_systems.flush()).await;
    match flushed.unwrap_or(Err(Errno::IO)).at(Operation::Flush, || run.destination_path("".as_ref())) {
        Ok(()) => run.report(Event::Durable).await,
        Err(error) => fail(error, run).await,
    }
}

/// What the kernel could not write back is lost, and it does not say whose it was: the run is over.
async fn fail(error: Error, run: &Run) {
    run.abandon();
    run.report(Event::Failed(error)).await;
}
