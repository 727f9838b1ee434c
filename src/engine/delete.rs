//! `--delete`: what the destination has beyond the source is collected when a directory is done, and removed when all
//! are: only then it is known how much that is, and what of the source could not be read.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::Run;
use super::directory::Directory;
use super::extra::{Done, in_thread};
use super::item::Item;
use super::pair::{Origin, Pair, Source};
use super::remove::{Doing, Removal, Removed};
use super::temporary;
use super::watch::Watched;
use super::worker::Lane;
use crate::config::Delete;
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::io::path::open_directory;
use crate::io::stat_open;
use crate::io::temporary::lock;
use crate::metadata::{self, Target};
use crate::plan::changes::Changes;
use crate::plan::delete::{Doomed, InTheWay, Refusal, judge};
use crate::plan::entry::Stat;
use crate::plan::writers::Writers;
use crate::report::event::{Action, Entries, EntryEvent, Event};

/// Takes note of what the mirror of a directory, which is done, has beyond it.
pub(super) async fn collect(directory: &Directory, pair: &Arc<Pair>, lane: &Lane) {
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
pub(super) async fn carry_out(lane: &Lane) {
    let Some(delete) = lane.run.config.delete else { return };
    let (doomed, waiting, mut in_vain) = lane.run.deletions.take();
    let watched = lane.watched.clone();
    let removed = in_thread(lane, move |run| {
        let watched = watched.as_deref();
        let (ready, stuck, count) = judge_waiting(run, waiting, watched);
        let judged = may_delete(run, &doomed, count, delete, watched);
        if judged.is_ok() {
            Removal::of(run, doing(run)).watched(watched).run(&doomed);
        }
        Ok((ready, stuck, judged))
    });
    let (ready, stuck, judged) = match removed.await {
        Ok(removed) => removed,
        Err(error) => return lane.run.report(Event::Failed(error)).await,
    };
    in_vain.extend(stuck);
    if let Err(error) = judged {
        lane.run.report(Event::Failed(error)).await;
        in_vain.extend(ready);
    } else {
        for waiting in ready {
            if lane.run.stop.is_stopped() {
                return;
            }
            replace(&waiting, lane).await;
        }
    }
    for waiting in in_vain {
        refuse(&waiting, lane).await;
    }
}

/// Tells the entries whose place can be cleared from those in whose place something is to stay, and counts what would go.
fn judge_waiting(
    run: &Run,
    waiting: Vec<InTheWay>,
    watched: Option<&Watched>,
) -> (Vec<InTheWay>, Vec<InTheWay>, u64) {
    let (mut ready, mut stuck, mut total) = (Vec::new(), Vec::new(), 0);
    for waiting in waiting {
        let path = waiting.directory.path_of(waiting.entry.target());
        let counted = in_the_way(run, &waiting, waiting.entry.target().clone())
            .map(|doomed| Removal::of(run, Doing::Count).threads(1).watched(watched).run(&[doomed]));
        match counted {
            Ok(Removed { count, kept: false, trouble: None }) if !run.is_spared(&path) => {
                total += count;
                ready.push(waiting);
            }
            _ => stuck.push(waiting),
        }
    }
    (ready, stuck, total)
}

/// Whether so much may be deleted, together with so many entries in the way of others; the error says why not.
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

/// The directory in the place of an entry, which has this name now, as something to be deleted.
fn in_the_way(run: &Run, waiting: &InTheWay, name: CString) -> Result<Doomed> {
    let path = waiting.directory.path();
    let at = || run.destination_path(&path);
    let destination = reopen(run.roots.destination.fd.as_ref(), &waiting.directory);
    let destination = destination.at(Operation::OpenDestination, at)?;
    let stat = stat_open(&destination).at(Operation::StatDestination, at)?;
    let mut doomed = Doomed::new(path.clone(), stat, waiting.directory.scopes());
    doomed.add(&name);
    doomed.shown = Some(waiting.entry.target().clone());
    Ok(doomed)
}

fn reopen(root: Option<&Arc<OwnedFd>>, directory: &Directory) -> rustix::io::Result<OwnedFd> {
    let root = root.ok_or(Errno::NOENT)?;
    open_directory(root, directory.path().as_os_str().as_bytes())
}

/// Mirrors an entry that takes the place of a directory. That one is set aside, and removed when its successor is there; if
/// there is none in the end, it gets its name back.
async fn replace(waiting: &InTheWay, lane: &Lane) {
    let InTheWay { directory, entry } = waiting;
    if lane.run.config.dry_run {
        remove_aside(waiting, entry.target().clone(), lane).await;
        return report(EntryEvent::changed(entry.kind, Action::Created, Changes::NEW), waiting, lane).await;
    }
    let event = match set_aside(waiting, lane) {
        Err(error) => EntryEvent::failed(entry.kind, error),
        Ok(aside) => {
            let item = Item { lane, directory, pair: &aside.pair, entry, replaces: true };
            let mut event = item.mirror().await;
            if event.error.is_some() || !event.action.is_change() {
                if let Err(error) = aside.put_back(waiting, lane) {
                    event = EntryEvent::failed(entry.kind, error);
                }
            } else {
                remove_aside(waiting, aside.name.clone(), lane).await;
            }
            match restore(&aside.pair, &aside.stat, directory, &lane.run) {
                Ok(()) => event,
                Err(error) => EntryEvent::failed(entry.kind, error),
            }
        }
    };
    report(event, waiting, lane).await;
}

/// A directory that has lost its name to an entry of the source.
struct Aside {
    pair: Arc<Pair>,
    /// What its directory was like before.
    stat: Stat,
    name: CString,
    /// Held, and locked, so that no other run takes it for litter.
    _held: OwnedFd,
}

fn set_aside(waiting: &InTheWay, lane: &Lane) -> Result<Aside> {
    let (directory, target) = (&waiting.directory, waiting.entry.target());
    let path = || lane.run.destination_path(&directory.path_of(target));
    let (pair, stat) = pair_again(directory, &lane.run)?;
    let within = pair.changing().at(Operation::Rename, path)?.clone();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let held =
        rustix::fs::openat(&within, target, flags, Mode::empty()).at(Operation::OpenDestination, path)?;
    lock(&held);
    let name = lane.run.temporary.new_name(&within).at(Operation::Rename, path)?;
    temporary::writable(&within, &lane.run, || rustix::fs::renameat(&within, target, &within, &name))
        .at(Operation::Rename, path)?;
    Ok(Aside { pair: Arc::new(pair), stat, name, _held: held })
}

impl Aside {
    fn put_back(&self, waiting: &InTheWay, lane: &Lane) -> Result<()> {
        let target = waiting.entry.target();
        let path = || lane.run.destination_path(&waiting.directory.path_of(target));
        let within = self.pair.changing().at(Operation::Rename, path)?;
        rustix::fs::renameat(within, &self.name, within, target).at(Operation::Rename, path)
    }
}

/// Removes a directory that was in the way, under the name that it has now.
async fn remove_aside(waiting: &InTheWay, name: CString, lane: &Lane) {
    let watched = lane.watched.clone();
    let doomed = match in_the_way(&lane.run, waiting, name) {
        Ok(doomed) => doomed,
        Err(error) => return lane.run.report(Event::Failed(error)).await,
    };
    let removed = in_thread(lane, move |run| {
        Removal::of(run, doing(run)).watched(watched.as_deref()).run(&[doomed]);
        Ok(())
    });
    if let Err(error) = removed.await {
        lane.run.report(Event::Failed(error)).await;
    }
}

/// A dry run only tells.
fn doing(run: &Run) -> Doing {
    if run.config.dry_run { Doing::Show } else { Doing::Remove }
}

/// The two directories of an entry, opened again.
fn pair_again(directory: &Directory, run: &Run) -> Result<(Pair, Stat)> {
    let path = || run.source_path(&directory.path());
    let fd = reopen(run.roots.source.fd.as_ref(), directory).at(Operation::OpenSource, path)?;
    let stat = stat_open(&fd).at(Operation::StatSource, path)?;
    let source = Source { fd: Arc::new(fd), stat, writers: Writers::default(), xattrs: None };
    let path = || run.destination_path(&directory.path());
    let held = reopen(run.roots.destination.fd.as_ref(), directory).at(Operation::OpenDestination, path)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let destination =
        rustix::fs::openat(&held, c".", flags, Mode::empty()).at(Operation::OpenDestination, path)?;
    let have = stat_open(&destination).at(Operation::StatDestination, path)?;
    let origin = Origin { existing: Some(have), ..Origin::default() };
    Ok((Pair::new(source, Some(Arc::new(destination)), origin), have))
}

/// Gives a directory the permissions and the time back that it had.
fn restore(pair: &Pair, have: &Stat, directory: &Directory, run: &Run) -> Result<()> {
    let Some(destination) = &pair.destination else { return Ok(()) };
    let path = || run.destination_path(&directory.path());
    if stat_open(destination).at(Operation::StatDestination, path)?.mode != have.mode {
        rustix::fs::fchmod(destination, Mode::from_raw_mode(have.mode)).at(Operation::SetMode, path)?;
    }
    match run.config.keep.times {
        true => metadata::set_mtime(Target::Open(destination.as_fd()), have.modified, path),
        false => Ok(()),
    }
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
pub(super) fn is_in_the_way(event: &EntryEvent, directory: &Directory, run: &Run) -> bool {
    run.config.delete.is_some()
        && !directory.implied
        && event.error.as_ref().is_some_and(|error| matches!(error.cause, Cause::DirectoryInTheWay))
}

/// Takes note of an error that keeps the mirror of a directory from being whole: nothing is deleted below it.
pub(super) fn heed(event: &EntryEvent, directory: &Directory, run: &Run) {
    let of_destination = |error: &Error| !error.operation.reads_source();
    if run.config.delete.is_some() && event.error.as_deref().is_some_and(of_destination) {
        run.deletions.protect(directory.path());
    }
}
