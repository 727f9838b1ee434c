//! The copy tasks: a fixed set on each thread. Each takes a batch, compares its entries with the destination one
//! after the other, and does what the comparison says.

use std::cell::Cell;
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;
use tokio::task::JoinSet;

use super::copy_file::{self, Copied};
use super::directory::Directory;
use super::job::{Batch, Entry, Offer, Parcel};
use super::outbox::Outbox;
use super::pair::Pair;
use super::temporary::{self, Taken};
use super::watch::{Remains, Step, Watched};
use super::{Run, check, contents, durable, link, panicked, read_back, special};
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::io::buffer::Pool;
use crate::io::file::File;
use crate::io::{Io, stat_open};
use crate::metadata::xattr::{self, Holder};
use crate::metadata::{self, Target};
use crate::plan::changes::Changes;
use crate::plan::compare::{Decision, Difference, changes, decide, keep};
use crate::plan::entry::{Kind, Stat};
use crate::report::event::{Action, Entries, EntryEvent};

/// What the tasks of one thread share.
pub(crate) struct Lane {
    pub(crate) io: Io,
    pub(crate) buffers: Rc<Pool>,
    pub(crate) run: Arc<Run>,
    pub(crate) outbox: Outbox,
    index: usize,
    /// Who is told what this thread does: `--timeout`.
    watched: Option<Arc<Watched>>,
    /// Tasks of this thread that have work.
    busy: Cell<usize>,
    /// Tasks of this thread that help with a large file.
    helping: Cell<usize>,
}

/// So many tasks of a thread work on large files: one waits for its write while the other hashes.
const HELPERS: usize = 2;

/// Runs a thread's tasks until the run is finished or stopped. A panic of one ends them all.
pub(crate) async fn run_tasks(io: Io, run: Arc<Run>, index: usize, tasks: usize, watch: Watch) -> Result<()> {
    let (buffers, outbox) = (Pool::new(), Outbox::default());
    let (busy, helping) = (Cell::new(0), Cell::new(0));
    let Watch { watched, first } = watch;
    let lane = Rc::new(Lane { io, buffers, run: run.clone(), outbox, index, watched, busy, helping });
    let mut set = JoinSet::new();
    if let Some(first) = first {
        run_batch(&lane, first).await;
    }
    for _ in 0..tasks {
        set.spawn_local(task(lane.clone()));
    }
    let mut result = Ok(());
    while let Some(ended) = set.join_next().await {
        if let Err(error) = ended
            && let Ok(panic) = error.try_into_panic()
        {
            run.abandon();
            result = Err(panicked(panic.as_ref()));
        }
    }
    if !lane.is_lost() {
        lane.outbox.send(&run).await;
    }
    result
}

/// What a thread is given that is watched: who watches it, and the work of a thread that it replaces.
#[derive(Default)]
pub(crate) struct Watch {
    pub(crate) watched: Option<Arc<Watched>>,
    pub(crate) first: Option<Batch>,
}

impl Lane {
    /// Does `work` and leaves word of it for the watchdog. `None`: it took so long that the thread has been replaced.
    pub(crate) async fn at_work<T>(
        &self,
        directory: &Arc<Directory>,
        step: impl FnOnce() -> Step,
        remains: &mut Remains,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        match &self.watched {
            Some(watched) => watched.at_work(directory, step(), remains, work).await,
            None => Some(work.await),
        }
    }

    /// Leaves word that the next system call is part of this operation.
    pub(crate) fn doing(&self, operation: Operation) {
        if let Some(watched) = &self.watched {
            watched.doing(operation);
        }
    }

    pub(crate) fn watched(&self) -> Option<&Watched> {
        self.watched.as_deref()
    }

    /// Whether the thread has been replaced, and is to do nothing more.
    pub(crate) fn is_lost(&self) -> bool {
        self.watched.as_ref().is_some_and(|watched| watched.is_lost())
    }
}

enum Job {
    Parcel(Parcel),
    Offer(Offer),
}

async fn task(lane: Rc<Lane>) {
    while !lane.is_lost()
        && let Some(job) = next_job(&lane).await
    {
        lane.busy.set(lane.busy.get() + 1);
        match job {
            Job::Parcel(parcel) => {
                for batch in parcel {
                    run_batch(&lane, batch).await;
                }
            }
            Job::Offer(Offer::Batch(batch)) => run_batch(&lane, batch).await,
            Job::Offer(Offer::Large(file)) if lane.helping.get() < HELPERS => {
                lane.helping.set(lane.helping.get() + 1);
                file.help(&lane).await;
                lane.helping.set(lane.helping.get() - 1);
            }
            Job::Offer(Offer::Large(_)) => {}
        }
        lane.busy.set(lane.busy.get() - 1);
    }
}

/// What to do next; `None` once the run is finished or stopped. Offers go first: a large file ends last.
async fn next_job(lane: &Lane) -> Option<Job> {
    let run = &lane.run;
    let offers = &run.offers[lane.index].receiver;
    if run.stop.is_stopped() {
        // What was taken from a batch has to be given back, so that its directory comes to an end.
        return offers.try_recv().ok().map(Job::Offer);
    }
    if let Ok(offer) = offers.try_recv() {
        return Some(Job::Offer(offer));
    }
    if let Ok(parcel) = run.parcels.try_recv() {
        return Some(Job::Parcel(parcel));
    }
    if lane.busy.get() == 0 {
        lane.outbox.send(run).await;
    }
    tokio::select! {
        biased;
        Ok(offer) = offers.recv() => Some(Job::Offer(offer)),
        Ok(parcel) = run.parcels.recv() => Some(Job::Parcel(parcel)),
        // The walk is over, or all is.
        else => None,
    }
}

/// A batch that takes longer is shared with tasks that have nothing to do.
const LONG_BATCH: Duration = Duration::from_millis(2);

/// A staged directory that takes longer gets its name, so that a kill does not cost what is done of it.
const LONGEST_STAGE: Duration = Duration::from_millis(100);

async fn run_batch(lane: &Lane, batch: Batch) {
    let Batch { directory, mut entries } = batch;
    entries.reverse();
    let wanted = !entries.is_empty() && !lane.run.stop.is_stopped();
    let events = Vec::with_capacity(entries.len());
    let mut remains = Remains { entries, events };
    let pair = if wanted {
        let opened = lane.at_work(&directory, || Step::Open, &mut remains, directory.open(lane)).await;
        let Some(pair) = opened else { return };
        pair
    } else {
        None
    };
    if run_entries(lane, &directory, pair.as_ref(), &mut remains).await.is_none() {
        return; // another thread has what is left
    }
    let flushes = lane.run.config.fsync && remains.events.iter().any(durable::is_new);
    if let Some(pair) = pair.as_ref().filter(|_| flushes) {
        let flushed = durable::flush_names(&directory, pair, lane);
        let Some(durable) = lane.at_work(&directory, || Step::Names, &mut remains, flushed).await else {
            return;
        };
        let new = remains.events.iter_mut().filter(|event| durable::is_new(event));
        new.for_each(|event| event.durable = durable);
    }
    let events = remains.events;
    if !events.is_empty() {
        let entries = Entries { directory: directory.path(), events };
        lane.outbox.put(entries, &lane.run).await;
    }
    if lane.watched.is_some() {
        lane.outbox.send(&lane.run).await; // a thread that is lost sends nothing any more
    }
    directory.release(lane).await;
}

/// Mirrors the entries of a batch. `None`: one took so long that the thread has been replaced.
async fn run_entries(
    lane: &Lane,
    directory: &Arc<Directory>,
    pair: Option<&Arc<Pair>>,
    remains: &mut Remains,
) -> Option<()> {
    let begun = Instant::now();
    while let Some(entry) = remains.entries.pop() {
        if lane.run.stop.is_stopped() {
            break;
        }
        let work = run_entry(lane, directory, pair, &entry);
        let event = lane.at_work(directory, || Step::Entry(entry.clone()), remains, work).await?;
        let Some(event) = event else { continue };
        lane.run.heed(&event);
        remains.events.push(event.named(entry.name));
        let taken = begun.elapsed();
        let shared = remains.entries.len() > 1 && taken > LONG_BATCH && lane.run.parcels.is_empty();
        if let Some(pair) = pair.filter(|pair| pair.is_staged() && (shared || taken > LONGEST_STAGE)) {
            // Only this task has files in it: none is half written now. Without its name the directory is lost, and so is what was left to do.
            if let Err(error) = directory.unstage(pair, lane).await {
                remains.events.push(EntryEvent::failed(Kind::Directory, error));
                break;
            }
        }
        if shared {
            remains.entries = spill(lane, directory, std::mem::take(&mut remains.entries));
        }
    }
    Some(())
}

/// Mirrors, or compares, an entry. `None`: it is reported with others.
async fn run_entry(
    lane: &Lane,
    directory: &Arc<Directory>,
    pair: Option<&Arc<Pair>>,
    entry: &Entry,
) -> Option<EntryEvent> {
    let Some(pair) = pair else { return Some(EntryEvent::done(entry.kind, Action::Skipped)) };
    let item = Item { lane, directory, pair, entry };
    if lane.run.config.check { check::check(item).await } else { Some(item.mirror().await) }
}

/// Offers half of the entries to other tasks and returns what is left to do here: all, if nobody wants them.
fn spill(lane: &Lane, directory: &Arc<Directory>, mut entries: Vec<Entry>) -> Vec<Entry> {
    let other = (lane.index + 1) % lane.run.offers.len();
    let channel = &lane.run.offers[other];
    if !channel.receiver.is_empty() {
        return entries; // somebody would have taken these first
    }
    let rest = entries.split_off(entries.len() / 2);
    directory.hold();
    match channel.sender.try_send(Offer::Batch(Batch { directory: directory.clone(), entries })) {
        Ok(()) => rest,
        Err(refused) => {
            // The batch's own hold is still there, so that this one is never the last.
            directory.drop_hold();
            match refused.into_inner() {
                Offer::Batch(Batch { mut entries, .. }) => {
                    entries.extend(rest);
                    entries
                }
                Offer::Large(_) => rest,
            }
        }
    }
}

/// One entry at work, with all that belongs to it.
#[derive(Clone, Copy)]
pub(crate) struct Item<'a> {
    pub(crate) lane: &'a Lane,
    pub(crate) directory: &'a Arc<Directory>,
    pub(crate) pair: &'a Arc<Pair>,
    pub(crate) entry: &'a Entry,
}

/// An entry's source, as far as it is known.
pub(crate) struct Source {
    pub(crate) stat: Stat,
    /// Opened already, a regular file.
    pub(crate) file: Option<File>,
}

impl Item<'_> {
    pub(crate) fn run(&self) -> &Run {
        &self.lane.run
    }

    /// The entry's name in the destination.
    pub(crate) fn target(&self) -> &CStr {
        self.entry.target()
    }

    /// The destination directory, to look at.
    pub(crate) fn within(&self) -> Result<&Arc<OwnedFd>> {
        self.pair.destination.as_ref().ok_or(Errno::NOENT).at(Operation::OpenDestination, || self.path())
    }

    /// The destination directory, to change an entry of it. A dry run, which may have none, never gets to ask.
    pub(crate) fn changing(&self) -> Result<&Arc<OwnedFd>> {
        self.pair.changing().at(Operation::Create, || self.path())
    }

    pub(crate) fn source_path(&self) -> PathBuf {
        self.run().source_path(&self.directory.path_of(&self.entry.name))
    }

    /// The entry's path in the destination, for messages.
    pub(crate) fn path(&self) -> PathBuf {
        self.run().destination_path(&self.directory.path_of(self.target()))
    }

    /// Makes the destination's entry what the source's is, and tells what that took.
    async fn mirror(self) -> EntryEvent {
        let mut kind = self.entry.kind;
        let result = async {
            let source = self.open_source().await?;
            kind = source.stat.kind;
            if kind.is_special() && !self.run().rules.keep.specials {
                return Ok(Copied::skipped());
            }
            let destination = self.stat_destination().await?;
            if source.stat.links > 1 && self.run().rules.keep.hard_links {
                link::mirror(self, source, destination).await
            } else {
                self.mirror_one(source, destination.as_ref()).await
            }
        };
        match result.await {
            Ok(copied) => EntryEvent::copied(kind, copied),
            Err(error) => EntryEvent::failed(kind, error),
        }
    }

    /// Opens a file that will be copied for certain, and stats anything else.
    pub(crate) async fn open_source(&self) -> Result<Source> {
        if self.entry.kind == Kind::File && self.pair.fresh && !self.run().config.dry_run {
            let (file, stat) = self.open_file().await?;
            return Ok(Source { stat, file: Some(file) });
        }
        self.lane.doing(Operation::StatSource);
        let stat = self.lane.io.stat(&self.pair.source, &self.entry.name).await;
        let stat = stat.and_then(|stat| stat.ok_or(Errno::NOENT));
        let stat = stat.at(Operation::StatSource, || self.source_path())?;
        if stat.kind == Kind::Directory {
            return Err(Error::new(Operation::StatSource, self.source_path(), Cause::TypeChanged));
        }
        Ok(Source { stat, file: None })
    }

    /// Opens the source for reading. A FIFO or a device that took a file's place is not read.
    async fn open_file(&self) -> Result<(File, Stat)> {
        self.lane.doing(Operation::OpenSource);
        let opened = self.lane.io.open(&self.pair.source, &self.entry.name, OFlags::RDONLY).await;
        let file = opened.map(Arc::new).at(Operation::OpenSource, || self.source_path())?;
        let stat = stat_open(&file).at(Operation::StatSource, || self.source_path())?;
        if stat.kind != Kind::File {
            return Err(Error::new(Operation::OpenSource, self.source_path(), Cause::TypeChanged));
        }
        Ok((self.lane.io.file(file, &stat), stat))
    }

    pub(crate) async fn stat_destination(&self) -> Result<Option<Stat>> {
        match &self.pair.destination {
            Some(within) if !self.pair.fresh => {
                self.lane.doing(Operation::StatDestination);
                self.lane.io.stat(within, self.target()).await.at(Operation::StatDestination, || self.path())
            }
            _ => Ok(None),
        }
    }

    /// The error of an operation that is broken off since the run was stopped.
    pub(crate) fn check_stop(&self) -> Result<()> {
        match self.run().stop.is_stopped() {
            true => Err(Error::new(Operation::Run, self.source_path(), Cause::Interrupted)),
            false => Ok(()),
        }
    }

    /// The path that an error of `operation` names.
    pub(crate) fn path_of(&self, operation: Operation) -> PathBuf {
        if operation.reads_source() { self.source_path() } else { self.path() }
    }

    /// Mirrors an entry that is not a further name of another one.
    pub(crate) async fn mirror_one(self, source: Source, destination: Option<&Stat>) -> Result<Copied> {
        let kind = source.stat.kind;
        let mut copied = self.bring_about(source, destination).await?;
        let config = &self.run().config;
        if kind == Kind::File && copied.hash.is_none() && config.manifest.is_some() && !config.dry_run {
            copied.hash = Some(read_back::hash_destination(&self).await?);
        }
        Ok(copied)
    }

    /// Does what the comparison says.
    async fn bring_about(self, source: Source, destination: Option<&Stat>) -> Result<Copied> {
        let mut changes = changes(&source.stat, destination, &self.run().rules);
        let same_target = || {
            let same = special::same_target(&self);
            changes.contents |= !same;
            same
        };
        let mut decision = decide(&source.stat, destination, &self.run().rules, same_target);
        if let (Decision::CompareContents, Some(have)) = (decision, destination) {
            let same = self.same_contents(&source.stat, have).await?;
            changes.contents = !same;
            decision = if same { keep(&source.stat, have, &self.run().rules) } else { Decision::Replace };
        }
        let copied = match decision {
            Decision::Create => self.make(source, Taken::Nothing, Action::Created).await,
            Decision::Replace | Decision::CompareContents => {
                self.make(source, Taken::Entry, Action::Updated).await
            }
            Decision::ReplaceDirectory => {
                self.require_empty_directory()?;
                self.make(source, Taken::EmptyDirectory, Action::Updated).await
            }
            Decision::Keep(difference) => match destination {
                Some(have) => return self.mend(source, have, difference).await,
                None => return Ok(Copied::skipped()),
            },
        };
        copied.map(|copied| Copied { changes, ..copied })
    }

    /// Whether the destination's file holds what the source's does. One that can't be read is taken not to.
    async fn same_contents(&self, source: &Stat, destination: &Stat) -> Result<bool> {
        match contents::compare(self, source, destination).await {
            Ok(compared) => Ok(compared.same),
            Err(Error { operation: Operation::OpenDestination | Operation::ReadDestination, .. }) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes the entry anew.
    pub(crate) async fn make(self, source: Source, taken: Taken, action: Action) -> Result<Copied> {
        if self.run().config.dry_run {
            let bytes = if source.stat.kind == Kind::File { source.stat.data() } else { 0 };
            return Ok(Copied { action, bytes, ..Copied::skipped() });
        }
        let copied = match source.stat.kind {
            Kind::File => {
                let (file, stat) = match source.file {
                    Some(file) => (file, source.stat),
                    None => self.open_file().await?,
                };
                copy_file::copy(self, &file, stat, taken).await?
            }
            Kind::Symlink => {
                self.lane.doing(Operation::Create);
                special::make_symlink(&self, &source.stat, taken)?
            }
            _ => {
                self.lane.doing(Operation::Create);
                special::make_node(&self, &source.stat, taken)?
            }
        };
        Ok(Copied { action, ..copied })
    }

    /// Requires that the directory in the way is empty, before anything is made to take its place.
    pub(crate) fn require_empty_directory(&self) -> Result<()> {
        match temporary::is_empty(self.within()?, self.target())
            .at(Operation::OpenDestination, || self.path())?
        {
            true => Ok(()),
            false => Err(Error::new(Operation::Create, self.path(), Cause::DirectoryInTheWay)),
        }
    }

    /// Sets what differs of an entry whose contents are right.
    async fn mend(self, source: Source, have: &Stat, difference: Difference) -> Result<Copied> {
        let run = self.run();
        let xattrs = if run.config.keep.xattrs { Some(self.source_xattrs()?) } else { None };
        let of_xattrs = match &xattrs {
            Some(want) => xattr::changes(want, &self.destination_xattrs()?),
            None => Changes::NONE,
        };
        let changes = Changes { acl: of_xattrs.acl, xattrs: of_xattrs.xattrs, ..difference.changes(have) };
        let mended = Copied { action: Action::Metadata, changes, ..Copied::skipped() };
        if difference.is_empty() && of_xattrs.is_empty() {
            if have.links > 1 && !run.links.may_share(have.inode, source.stat.inode) {
                return self.make(source, Taken::Entry, Action::Updated).await;
            }
            return Ok(Copied::unchanged());
        }
        if have.links > 1 {
            let copied = self.make(source, Taken::Entry, Action::Updated).await?;
            return Ok(Copied { changes, ..copied });
        }
        if run.config.dry_run {
            return Ok(mended);
        }
        self.lane.doing(Operation::SetTimes);
        let handle = self.handle(self.target())?;
        let now = stat_open(&handle).at(Operation::StatDestination, || self.path())?;
        if now.inode != have.inode || now.links > 1 {
            return Err(Error::new(Operation::OpenDestination, self.path(), Cause::TypeChanged));
        }
        let target = Target::Handle(handle.as_fd());
        metadata::apply(target, &source.stat, &now, xattrs.as_ref(), false, &run.rules, || self.path())?;
        Ok(mended)
    }

    /// Holds a destination name's inode without opening it.
    pub(crate) fn handle(&self, name: &CStr) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(self.within()?, name, flags, rustix::fs::Mode::empty())
            .at(Operation::OpenDestination, || self.path())
    }

    /// The source's attributes, by its name.
    pub(crate) fn source_xattrs(&self) -> Result<xattr::Xattrs> {
        let holder = Holder::Name(self.pair.source.as_fd(), &self.entry.name);
        xattr::read(&holder, self.run().rules.privileges.root, || self.source_path())
    }

    pub(crate) fn destination_xattrs(&self) -> Result<xattr::Xattrs> {
        let holder = Holder::Name(self.within()?.as_fd(), self.target());
        xattr::read(&holder, self.run().rules.privileges.root, || self.path())
    }
}
