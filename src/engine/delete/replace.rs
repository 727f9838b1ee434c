//! `--delete`: entries of the source in whose place the destination has a directory that is not empty. Each is made whole
//! beside it (aside.rs) and exchanged with it; then the directory is removed, or backed up, under the path that it had. If
//! something of it stays, it gets its place back.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use crate::engine::Run;
use crate::engine::delete::aside::Aside;
use crate::engine::delete::collect::doing;
use crate::engine::delete::removal::{Doing, Removal, Removed};
use crate::engine::delete::settled::refuse_changed;
use crate::engine::entry::item::Item;
use crate::engine::own::refused::explain_frozen;
use crate::engine::run::blocking::in_thread;
use crate::engine::run::flushed::flush_directory;
use crate::engine::run::lane::Lane;
use crate::engine::state::backups::Backups;
use crate::engine::state::deletions::{Doomed, InTheWay};
use crate::engine::state::directory::Directory;
use crate::engine::state::pair::{Origin, Pair, SourceDirectory};
use crate::engine::state::watched::Watched;
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::event::{Entries, EntryEvent, Event, Kind};
use crate::io::list::LIST;
use crate::metadata::{self, HeldInode};
use crate::plan::writers::Writers;
use crate::stat::{Inode, Stat, stat_open};

/// An entry in whose place everything may be removed.
pub(crate) struct Ready {
    pub(crate) waiting: InTheWay,
    /// The directory that was judged, and its mode.
    inode: Inode,
    mode: u32,
    /// How many entries it has, itself among them.
    count: u64,
}

impl Ready {
    /// Parts those in whose place no more than `left` entries have to go from the others.
    pub(crate) fn within(ready: Vec<Ready>, mut left: u64) -> (Vec<Ready>, Vec<Stuck>) {
        let (mut within, mut beyond) = (Vec::new(), Vec::new());
        for ready in ready {
            // The directory itself is replaced.
            match left.checked_sub(ready.count.saturating_sub(1)) {
                Some(rest) => {
                    left = rest;
                    within.push(ready);
                }
                None => beyond.push(Stuck::from(ready.waiting)),
            }
        }
        (within, beyond)
    }
}

/// An entry in whose place something is to stay.
pub(crate) struct Stuck {
    waiting: InTheWay,
    why: Cause,
}

impl From<InTheWay> for Stuck {
    fn from(waiting: InTheWay) -> Self {
        Stuck { waiting, why: Cause::DirectoryInTheWay }
    }
}

/// Tells the entries whose place can be cleared from those in whose place something is to stay, and counts what would go.
pub(crate) fn judge_all(
    run: &Run,
    waiting: Vec<InTheWay>,
    watched: Option<&Watched>,
) -> (Vec<Ready>, Vec<Stuck>, u64) {
    let (mut ready, mut stuck, mut total) = (Vec::new(), Vec::new(), 0);
    for waiting in waiting {
        match judge(run, &waiting, watched) {
            Ok((stat, count)) => {
                total += count;
                ready.push(Ready { waiting, inode: stat.inode, mode: stat.mode, count });
            }
            Err(why) => stuck.push(Stuck { waiting, why }),
        }
    }
    (ready, stuck, total)
}

/// The directory in an entry's place, and how much would go with it; or why it stays.
fn judge(run: &Run, waiting: &InTheWay, watched: Option<&Watched>) -> Result<(Stat, u64), Cause> {
    let target = waiting.entry.target();
    if run.is_own_path(&waiting.directory.path_of(target)) {
        return Err(Cause::DirectoryInTheWay);
    }
    refuse_changed(&run.hold_in_source(&waiting.directory)?, run)?;
    let within = run.hold_in_destination(&waiting.directory.path())?;
    let found = rustix::fs::statx(&within, target, AtFlags::SYMLINK_NOFOLLOW, Stat::FIELDS)?;
    let doomed = doomed(run, &waiting.directory, target.to_owned()).map_err(|error| error.cause)?;
    let removal = Removal::of(run, Doing::Count).of_one(None).threads(1).watched(watched);
    match removal.run(&[doomed]) {
        Removed { count, kept: false, trouble: None, .. } => Ok((Stat::from(&found), count)),
        Removed { trouble: Some(trouble), .. } => {
            Err(Cause::Refused(format!("the directory in the way has to stay: {trouble}")))
        }
        _ if run.backups.as_ref().is_some_and(Backups::stay) => Err(Cause::BackupsInTheWay),
        _ => Err(Cause::DirectoryInTheWay),
    }
}

/// One name in a directory, as something to be deleted.
fn doomed(run: &Run, directory: &Directory, name: CString) -> Result<Doomed> {
    let path = directory.path();
    let at = || run.destination_path(&path);
    let destination = run.hold_in_destination(&path);
    let destination = destination.at(Operation::OpenDestination, at)?;
    let stat = stat_open(&destination).at(Operation::StatDestination, at)?;
    let mut doomed = Doomed::new(path.clone(), stat, directory.scopes());
    doomed.add(&name);
    Ok(doomed)
}

/// The directory of the source that an entry is in.
fn source_again(directory: &Directory, run: &Run) -> Result<SourceDirectory> {
    let path = || run.source_path(&directory.path());
    let fd = run.hold_in_source(directory).at(Operation::OpenSource, path)?;
    let stat = stat_open(&fd).at(Operation::StatSource, path)?;
    Ok(SourceDirectory { fd: Arc::new(fd), stat, writers: Writers::default(), xattrs: None })
}

/// Mirrors an entry that takes the place of a directory.
pub(crate) async fn replace(ready: &Ready, lane: &Lane) {
    let InTheWay { directory, entry } = &ready.waiting;
    if !lane.run.config.writes() {
        if let Err(error) = remove(&ready.waiting, entry.target().to_owned(), None, lane).await {
            lane.run.report(Event::Failed(error)).await;
        }
        let event = match source_again(directory, &lane.run) {
            Err(error) => EntryEvent::failed(entry.kind, error),
            Ok(source) => {
                let pair = &Arc::new(Pair::new(source, None, Origin::default()));
                Item { lane, directory, pair, entry, replaces: true, old: None, led: None }.mirror().await
            }
        };
        return report(event, &ready.waiting, lane).await;
    }
    let mut event = match Replacement::open(ready, lane) {
        Err(error) => EntryEvent::failed(entry.kind, error),
        Ok(place) => {
            let event = place.mirror(lane).await;
            match place.restore(directory, &lane.run) {
                Ok(()) => event,
                Err(error) => EntryEvent::failed(entry.kind, error),
            }
        }
    };
    if let Some(error) = event.error.take() {
        let within = lane.run.hold_in_destination(&directory.path());
        event.error = Some(match within {
            Ok(within) => Box::new(explain_frozen(*error, (&within, entry.target()))),
            Err(_) => error,
        });
    }
    report(event, &ready.waiting, lane).await;
}

/// The place of an entry, with a directory in it.
struct Replacement<'a> {
    ready: &'a Ready,
    within: Arc<OwnedFd>,
    /// What the directory around it was like before.
    stat: Stat,
    aside: Aside,
    /// The source's directory, and the one where the entry is made.
    pair: Arc<Pair>,
}

impl<'a> Replacement<'a> {
    fn open(ready: &'a Ready, lane: &Lane) -> Result<Self> {
        let (directory, run) = (&ready.waiting.directory, &lane.run);
        let source = source_again(directory, run)?;
        let path = || run.destination_path(&directory.path());
        let held = run.hold_in_destination(&directory.path()).at(Operation::OpenDestination, path)?;
        let within = rustix::fs::openat(&held, c".", LIST, Mode::empty());
        let within = Arc::new(within.at(Operation::OpenDestination, path)?);
        let stat = stat_open(&within).at(Operation::StatDestination, path)?;
        let aside = Aside::make(&within, run).at(Operation::Create, || {
            run.destination_path(&directory.path_of(ready.waiting.entry.target()))
        })?;
        let origin = Origin { file_system: run.file_systems.of(&within, &stat), ..Origin::default() };
        let pair = Arc::new(Pair::new(source, Some(aside.fd.clone()), origin));
        Ok(Replacement { ready, within, stat, aside, pair })
    }

    fn path(&self, run: &Run) -> std::path::PathBuf {
        let InTheWay { directory, entry } = &self.ready.waiting;
        run.destination_path(&directory.path_of(entry.target()))
    }

    async fn mirror(&self, lane: &Lane) -> EntryEvent {
        let InTheWay { directory, entry } = &self.ready.waiting;
        let item = Item { lane, directory, pair: &self.pair, entry, replaces: true, old: None, led: None };
        let event = item.mirror().await;
        if event.error.is_some() || !event.action.is_change() {
            self.aside.discard();
            return event;
        }
        match self.put_in_place(lane).await {
            Ok(()) => event,
            Err(error) => EntryEvent::failed(entry.kind, error),
        }
    }

    /// Exchanges the directory with what was made, and removes it.
    async fn put_in_place(&self, lane: &Lane) -> Result<()> {
        let (target, path) = (self.ready.waiting.entry.target(), || self.path(&lane.run));
        match self.aside.exchange(target, &lane.run) {
            Ok(()) => {}
            Err(Errno::XDEV) => return self.empty_in_place(lane).await,
            Err(errno) => {
                self.aside.discard();
                return Err(errno).at(Operation::Rename, path);
            }
        }
        let removed = async {
            if lane.run.config.fsync {
                flush_directory(&self.within, lane, path).await?;
            }
            if self.aside.old(target).at(Operation::Rename, path)? != self.ready.inode {
                return Err(Error::new(Operation::Rename, path(), Cause::DirectoryReplaced));
            }
            remove(&self.ready.waiting, self.aside.name.clone(), Some(self.aside.inode), lane).await
        };
        let Err(error) = removed.await else { return Ok(()) };
        match self.aside.put_back(target, (self.ready.inode, self.ready.mode)) {
            Ok(()) => {
                self.aside.discard();
                Err(error)
            }
            // All of it is gone.
            Err(Errno::NOENT) => {
                self.aside.discard();
                Ok(())
            }
            Err(errno) => {
                lane.run.report(Event::Failed(error)).await;
                let at = self.ready.waiting.directory.path_of(&self.aside.name);
                Err(errno).at(Operation::Rename, || lane.run.destination_path(&at))
            }
        }
    }

    /// Where a directory can't be moved at all, as in the lower layer of an overlay, it is emptied where it is.
    async fn empty_in_place(&self, lane: &Lane) -> Result<()> {
        let target = self.ready.waiting.entry.target();
        let removed = remove(&self.ready.waiting, target.to_owned(), Some(self.ready.inode), lane).await;
        let placed =
            removed.and_then(|()| self.aside.place(target).at(Operation::Rename, || self.path(&lane.run)));
        self.aside.discard();
        placed
    }

    /// Gives the directory around it the permissions and the time back that it had.
    fn restore(&self, directory: &Directory, run: &Run) -> Result<()> {
        let path = || run.destination_path(&directory.path());
        if stat_open(&self.within).at(Operation::StatDestination, path)?.mode != self.stat.mode {
            let mode = Mode::from_raw_mode(self.stat.mode);
            rustix::fs::fchmod(&self.within, mode).at(Operation::SetMode, path)?;
        }
        match run.rules.keep.times_of(Kind::Directory) {
            true => metadata::restore_mtime(HeldInode::Open(self.within.as_fd()), self.stat.modified, path),
            false => Ok(()),
        }
    }
}

/// Removes one name beside an entry, which must be the `expected` directory. An error tells that something stays.
async fn remove(waiting: &InTheWay, name: CString, expected: Option<Inode>, lane: &Lane) -> Result<()> {
    let watched = lane.watched.clone();
    let doomed = doomed(&lane.run, &waiting.directory, name)?;
    let removed = in_thread(lane, move |run| {
        let removal = Removal::of(run, doing(run)).of_one(expected).watched(watched.as_deref());
        Ok(removal.run(&[doomed]))
    });
    if !removed.await?.kept {
        return Ok(());
    }
    let cause = match lane.run.stop.is_stopped() {
        true => Cause::Interrupted,
        false => Cause::Refused("not all of the directory in its place could be removed".into()),
    };
    let path = waiting.directory.path_of(waiting.entry.target());
    Err(Error::new(Operation::Create, lane.run.destination_path(&path), cause))
}

/// Reports an entry whose place stays taken.
pub(crate) async fn refuse(stuck: Stuck, lane: &Lane) {
    let Stuck { waiting, why } = stuck;
    let path = lane.run.destination_path(&waiting.directory.path_of(waiting.entry.target()));
    let error = Error::new(Operation::Create, path, why);
    report(EntryEvent::failed(waiting.entry.kind, error), &waiting, lane).await;
}

async fn report(mut event: EntryEvent, waiting: &InTheWay, lane: &Lane) {
    lane.run.heed(&mut event);
    let events = vec![event.named(waiting.entry.name.clone())];
    lane.outbox.put(Entries { directory: waiting.directory.path(), events }, &lane.run).await;
}
