//! `--delete`: what the destination has beyond the source is collected when a directory is done, and removed when all
//! are: only then it is known how much that is, and what of the source could not be read.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::Run;
use super::directory::Directory;
use super::extra::{self, in_thread, names};
use super::item::Item;
use super::pair::{Origin, Pair, Source};
use super::remove::{Doing, remove};
use super::temporary;
use super::watch::Watched;
use super::worker::Lane;
use crate::config::Delete;
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::io::path::open_directory;
use crate::io::stat_open;
use crate::metadata::{self, Target};
use crate::plan::changes::Changes;
use crate::plan::delete::{Doomed, InTheWay, Refusal, judge};
use crate::plan::entry::Stat;
use crate::report::event::{Action, Entries, EntryEvent, Event};

/// Takes note of what the mirror of a directory, which is done, has beyond it.
pub(super) async fn collect(directory: &Directory, pair: &Arc<Pair>, lane: &Lane) {
    let Some(destination) = pair.destination.clone().filter(|_| !pair.fresh) else { return };
    let (pair, path, scope) = (pair.clone(), directory.path(), directory.scope().cloned());
    let watched = lane.watched.clone();
    let listed = in_thread(lane, move |run| {
        let at = || run.destination_path(&path);
        let goes_on = || {
            if let Some(watched) = &watched {
                watched.doing(Operation::ListDestination);
            }
        };
        let count = count(&destination).at(Operation::ListDestination, at)?;
        goes_on();
        run.deletions.count_listed(count as u64);
        if count == pair.compared() {
            return Ok(());
        }
        let stat = stat_open(&destination).at(Operation::StatDestination, at)?;
        let mut doomed = Doomed::new(path.clone(), stat.inode, stat, scope);
        let mut extra = 0;
        for entry in names(&destination).at(Operation::ListDestination, at)? {
            let entry = entry.at(Operation::ListDestination, at)?;
            goes_on();
            let kind = extra::kind_of(destination.as_fd(), &entry);
            let name = entry.file_name();
            // What runs leave for the next one, and other runs are at work on, is no extra entry.
            let is_ours = temporary::is_temporary(name.to_bytes(), stat.inode);
            if is_ours || !extra::is_extra(&pair.source, name, kind, doomed.scope.as_deref()) {
                continue;
            }
            extra += 1;
            let below = path.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
            if !run.backups.as_ref().is_some_and(|backups| backups.are_below(&below)) {
                doomed.add(name);
            }
        }
        if count - extra < pair.compared() {
            return Err(Cause::OtherNames).at(Operation::Delete, at);
        }
        if !doomed.is_empty() {
            run.deletions.add(doomed);
        }
        Ok(())
    });
    if let Err(error) = listed.await {
        lane.run.report(Event::Failed(error)).await;
    }
}

fn count(directory: &OwnedFd) -> rustix::io::Result<usize> {
    names(directory)?.try_fold(0, |count, entry| entry.map(|_| count + 1))
}

/// Removes what was collected, if it may be. All directories are done, but for the root's own end.
pub(super) async fn carry_out(lane: &Lane) {
    let Some(delete) = lane.run.config.delete else { return };
    let (mut doomed, waiting, in_vain) = lane.run.deletions.take();
    let mut may = true;
    for waiting in &waiting {
        match whole_directory(&lane.run, waiting) {
            Ok(directory) => doomed.push(directory),
            Err(error) => lane.run.report(Event::Failed(error)).await,
        }
    }
    let watched = lane.watched.clone();
    let removed = in_thread(lane, move |run| {
        if !doomed.is_empty() {
            may_delete(run, &doomed, delete, watched.as_deref())?;
            let doing = if run.config.dry_run { Doing::Show } else { Doing::Remove };
            remove(run, &doomed, doing, watched.as_deref());
        }
        Ok(())
    });
    if let Err(error) = removed.await {
        may = false;
        lane.run.report(Event::Failed(error)).await;
    }
    for waiting in in_vain {
        refuse(&waiting, lane).await;
    }
    for waiting in waiting {
        match may {
            true => replace(&waiting, lane).await,
            false => refuse(&waiting, lane).await,
        }
    }
}

/// Whether so much may be deleted; the error says why not. Nothing is, where the run is over before its end.
fn may_delete(run: &Run, doomed: &[Doomed], delete: Delete, watched: Option<&Watched>) -> Result<()> {
    let empty = run.deletions.source_is_empty();
    let extra: u64 = doomed.iter().map(|doomed| doomed.names().count() as u64).sum();
    let count = match delete.limit {
        Some(_) => remove(run, doomed, Doing::Count, watched),
        None => extra,
    };
    // What is in extra directories has not been listed before.
    let entries = run.deletions.listed() + count.saturating_sub(extra);
    let refused = |cause| Err(Error::new(Operation::Delete, &run.config.destination, cause));
    match judge(count, entries, empty, delete.allow_empty_source, delete.limit) {
        None => Ok(()),
        Some(Refusal::EmptySource) => refused(Cause::EmptySource),
        Some(Refusal::TooMany) => refused(Cause::TooManyDeletions(count)),
    }
}

/// The directory in the place of an entry, as something to be deleted.
fn whole_directory(run: &Run, waiting: &InTheWay) -> Result<Doomed> {
    let path = waiting.directory.path();
    let at = || run.destination_path(&path);
    let destination =
        reopen(run.roots.destination.fd.as_ref(), &waiting.directory).at(Operation::OpenDestination, at)?;
    let stat = stat_open(&destination).at(Operation::StatDestination, at)?;
    let mut doomed = Doomed::new(path.clone(), stat.inode, stat, waiting.directory.scope().cloned());
    doomed.add(waiting.entry.target());
    Ok(doomed)
}

fn reopen(root: Option<&Arc<OwnedFd>>, directory: &Directory) -> rustix::io::Result<OwnedFd> {
    let root = root.ok_or(Errno::NOENT)?;
    match directory.path().as_os_str().as_bytes() {
        b"" => {
            rustix::fs::openat(root, c".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        }
        below => open_directory(root, below),
    }
}

/// Mirrors an entry whose place is free now.
async fn replace(waiting: &InTheWay, lane: &Lane) {
    let InTheWay { directory, entry } = waiting;
    let event = match pair_again(directory, &lane.run) {
        _ if lane.run.config.dry_run => EntryEvent::changed(entry.kind, Action::Created, Changes::NEW),
        Ok((pair, stat)) => {
            let pair = Arc::new(pair);
            let event = Item { lane, directory, pair: &pair, entry }.mirror().await;
            restore_time(&pair, &stat, directory, &lane.run)
                .map_or_else(|error| EntryEvent::failed(entry.kind, error), |()| event)
        }
        Err(error) => EntryEvent::failed(entry.kind, error),
    };
    report(event, waiting, lane).await;
}

/// The two directories of an entry, opened again.
fn pair_again(directory: &Directory, run: &Run) -> Result<(Pair, Stat)> {
    let path = || run.source_path(&directory.path());
    let fd = reopen(run.roots.source.fd.as_ref(), directory).at(Operation::OpenSource, path)?;
    let stat = stat_open(&fd).at(Operation::StatSource, path)?;
    let source = Source { fd: Arc::new(fd), stat, xattrs: None };
    let path = || run.destination_path(&directory.path());
    let held = reopen(run.roots.destination.fd.as_ref(), directory).at(Operation::OpenDestination, path)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let destination =
        rustix::fs::openat(&held, c".", flags, Mode::empty()).at(Operation::OpenDestination, path)?;
    let have = stat_open(&destination).at(Operation::StatDestination, path)?;
    let origin = Origin { existing: Some(have), ..Origin::default() };
    Ok((Pair::new(source, Some(Arc::new(destination)), origin), have))
}

fn restore_time(pair: &Pair, have: &Stat, directory: &Directory, run: &Run) -> Result<()> {
    let Some(destination) = pair.destination.as_ref().filter(|_| run.config.keep.times) else {
        return Ok(());
    };
    let path = || run.destination_path(&directory.path());
    metadata::set_mtime(Target::Open(destination.as_fd()), have.modified, path)
}

/// Reports an entry whose place stays taken.
async fn refuse(waiting: &InTheWay, lane: &Lane) {
    let path = lane.run.destination_path(&waiting.directory.path_of(waiting.entry.target()));
    let error = Error::new(Operation::Create, path, Cause::DirectoryInTheWay);
    report(EntryEvent::failed(waiting.entry.kind, error), waiting, lane).await;
}

async fn report(event: EntryEvent, waiting: &InTheWay, lane: &Lane) {
    lane.run.heed(&event);
    let events = vec![event.named(waiting.entry.name.clone())];
    lane.outbox.put(Entries { directory: waiting.directory.path(), events }, &lane.run).await;
}

/// Whether an entry's error only says that the directory in its place has to be deleted first.
pub(super) fn is_in_the_way(event: &EntryEvent, run: &Run) -> bool {
    run.config.delete.is_some()
        && event.error.as_ref().is_some_and(|error| matches!(error.cause, Cause::DirectoryInTheWay))
}

/// Takes note of an error that keeps the mirror of a directory from being whole: nothing is deleted below it.
pub(super) fn heed(event: &EntryEvent, directory: &Directory, run: &Run) {
    let of_destination = |error: &Error| !error.operation.reads_source();
    if run.config.delete.is_some() && event.error.as_deref().is_some_and(of_destination) {
        run.deletions.protect(directory.path());
    }
}
