//! The copy tasks: a fixed set on each thread. Each takes a batch, compares its entries with the destination one
//! after the other, and does what the comparison says.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_channel::Receiver;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::engine::directory::Directory;
use crate::engine::item::Item;
use crate::engine::job::{Batch, Entry, Offer, Parcel};
use crate::engine::outbox::Outbox;
use crate::engine::pair::Pair;
use crate::engine::segment::LargeFile;
use crate::engine::spare::Judge;
use crate::engine::threads::panicked;
use crate::engine::turn::{Beacon, Turns};
use crate::engine::watch::{Remains, Step, Watched};
use crate::engine::{Channel, Run, check, delete, durable};
use crate::error::{Operation, Result};
use crate::event::metrics::Stage;
use crate::event::{Action, Entries, EntryEvent, Event, Kind};
use crate::io::Io;
use crate::io::buffer::{LARGE, Pool};
use crate::io::metrics::Gauge;
use crate::plan::delete::InTheWay;

/// What the tasks of one thread share.
pub(crate) struct Lane {
    pub(crate) io: Io,
    pub(crate) buffers: Rc<Pool>,
    pub(crate) run: Arc<Run>,
    pub(crate) outbox: Outbox,
    index: usize,
    /// Who is told what this thread does: `--timeout`.
    pub(super) watched: Option<Arc<Watched>>,
    /// Who takes the figures: `--stats`, `--trace`.
    pub(super) gauge: Option<Rc<Gauge>>,
    /// Tasks of this thread, and how many of them have work.
    tasks: Cell<usize>,
    busy: Cell<usize>,
    /// One more task would have something to do.
    short_of_tasks: Notify,
    /// What others offer this thread.
    offers: Receiver<Offer>,
    judge: Judge,
    /// Tasks of this thread that help with a large file.
    helping: Cell<usize>,
}

/// Tasks that a thread begins with. There are more once these wait: what the caches answer takes one after the other, and
/// then the next file finds the processor's cache and the directory as the last one left them.
const FEWEST_TASKS: usize = 2;

/// How many tasks of a thread help with large files of others. A write has the file's lock to itself: with more the
/// disk's read-ahead would only jump between them (docs/performance.md).
const HELPERS: usize = 1;

/// Runs a thread's tasks, `most` of them at most, until the run is finished or stopped. A panic of one ends them all.
pub(crate) async fn run_tasks(io: Io, run: Arc<Run>, index: usize, most: usize, watch: Watch) -> Result<()> {
    let Watch { watched, first } = watch;
    let lane = Rc::new(Lane::new(io, run, index, watched));
    if let Some(first) = first {
        Turns::new(lane.clone(), 0, run_batch(&lane, first)).await;
    }
    let mut set = JoinSet::new();
    (0..FEWEST_TASKS.min(most)).for_each(|_| lane.add_task(&mut set));
    let mut result = Ok(());
    loop {
        let ended = tokio::select! {
            biased;
            ended = set.join_next() => ended,
            () = lane.short_of_tasks.notified(), if lane.tasks.get() < most => {
                lane.add_task(&mut set);
                continue;
            }
        };
        match ended {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                if let Ok(panic) = error.try_into_panic() {
                    lane.run.abandon();
                    result = Err(panicked(panic.as_ref()));
                }
            }
            None => break,
        }
    }
    if !lane.is_lost() {
        lane.outbox.send(&lane.run).await;
        lane.send_figures().await;
    }
    result
}

/// Who takes a ring's figures, where some are wanted.
fn gauge(run: &Arc<Run>, index: usize) -> Option<Rc<Gauge>> {
    let traced = run.config.trace.is_some();
    let parcels = run.parcels.clone();
    let wanted = run.config.stats || traced;
    // The walk's end of the channel goes with the walk.
    wanted.then(|| Rc::new(Gauge::new(index, run.begun, traced, move || parcels.is_closed())))
}

/// What a thread is given that is watched: who watches it, and the work of a thread that it replaces.
#[derive(Default)]
pub(crate) struct Watch {
    pub(crate) watched: Option<Arc<Watched>>,
    pub(crate) first: Option<Batch>,
}

impl Lane {
    fn new(io: Io, run: Arc<Run>, index: usize, watched: Option<Arc<Watched>>) -> Self {
        let gauge = gauge(&run, index);
        // Longer reads would take longer, and a time-out is about each.
        let watched_piece = run.config.timeout.map(|_| LARGE);
        let buffers = Pool::of(run.config.buffer.or(watched_piece), gauge.clone());
        let outbox = Outbox::default();
        let io = io.gauged(gauge.clone());
        let (tasks, busy, helping) = (Cell::new(0), Cell::new(0), Cell::new(0));
        let short_of_tasks = Notify::new();
        // Nobody offers a ring from the reserve anything.
        let offers =
            run.offers.get(index).map_or_else(|| Channel::bounded(1).receiver, |own| own.receiver.clone());
        let judge = Judge::new();
        Lane {
            io,
            buffers,
            run,
            outbox,
            index,
            watched,
            gauge,
            tasks,
            busy,
            short_of_tasks,
            offers,
            judge,
            helping,
        }
    }

    fn add_task(self: &Rc<Self>, set: &mut JoinSet<()>) {
        let number = self.tasks.get();
        self.tasks.set(number + 1);
        set.spawn_local(Turns::new(self.clone(), number, task(self.clone())));
    }

    /// A task's turn is over, and it is not done.
    pub(super) fn task_waits(&self) {
        if self.busy.get() == self.tasks.get() {
            self.short_of_tasks.notify_one();
        }
    }

    /// Does `work` and leaves word of it for the watchdog. `None`: it took so long that the thread has been replaced.
    pub(crate) async fn at_work<T>(
        &self,
        directory: &Arc<Directory>,
        step: impl Fn() -> Step,
        remains: &mut Remains,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let span = self.gauge.as_ref().and_then(|gauge| gauge.span_begins());
        let span = span.map(|begun| (begun, step()));
        let done = match &self.watched {
            Some(watched) => watched.at_work(directory, step(), remains, work).await,
            None => Some(work.await),
        };
        if let (Some(gauge), Some((begun, step))) = (&self.gauge, span) {
            let path = || match &step {
                Step::Entry(entry) => directory.path_of(&entry.name),
                _ => directory.path(),
            };
            gauge.span_ends(Some(begun), path, step.name());
            self.send_trace(false).await;
        }
        done
    }

    /// Leaves word that the next system call is part of this operation.
    pub(crate) fn doing(&self, operation: Operation) {
        self.doing_as(operation, stage(operation));
    }

    /// The same, of one that is part of another stage than usual.
    pub(super) fn doing_as(&self, operation: Operation, stage: Stage) {
        self.beacon().step(operation);
        if let Some(gauge) = &self.gauge {
            gauge.enter(stage);
        }
        if let Some(watched) = &self.watched {
            watched.doing(operation);
        }
    }

    /// What comes next is hashing.
    pub(crate) fn hashing(&self) {
        if let Some(gauge) = &self.gauge {
            gauge.enter(Stage::Hash);
        }
    }

    /// Where the other threads are offered work.
    pub(super) fn others(&self) -> impl Iterator<Item = &Channel<Offer>> {
        self.run
            .offers
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != self.index)
            .map(|(_, channel)| channel)
    }

    /// Where this thread says what it does.
    pub(super) fn beacon(&self) -> &Beacon {
        &self.run.beacons[self.index]
    }

    /// Sends what there is of the trace, if it is all that is wanted, or much.
    pub(super) async fn send_trace(&self, all: bool) {
        if let Some(text) = self.gauge.as_ref().and_then(|gauge| gauge.take_trace(all)) {
            self.run.report(Event::Trace(text)).await;
        }
    }

    async fn send_figures(&self) {
        self.send_trace(true).await;
        if let Some(gauge) = self.gauge.as_ref().filter(|_| self.run.config.stats) {
            self.run.report(Event::Ring(Box::new(gauge.figures()))).await;
        }
    }

    /// Takes parts of a file that another task has.
    async fn help(&self, file: &LargeFile) {
        let span = self.gauge.as_ref().and_then(|gauge| gauge.span_begins());
        file.help(self).await;
        if let Some(gauge) = &self.gauge {
            gauge.span_ends(span, || file.path.clone().unwrap_or_default(), "help");
        }
    }

    /// The task whose turn it is has work.
    fn work_begins(&self) {
        self.busy.set(self.busy.get() + 1);
        if let Some(gauge) = &self.gauge {
            gauge.work_begins();
        }
    }

    fn work_ends(&self) {
        self.busy.set(self.busy.get() - 1);
        if let Some(gauge) = &self.gauge {
            gauge.work_ends();
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

/// The stage that an operation is part of.
fn stage(operation: Operation) -> Stage {
    match operation {
        Operation::OpenSource
        | Operation::StatSource
        | Operation::OpenDestination
        | Operation::StatDestination
        | Operation::ListDestination => Stage::Compare,
        Operation::ReadSource | Operation::ReadDestination => Stage::Read,
        Operation::Create | Operation::Write => Stage::Write,
        _ => Stage::Finish,
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
        lane.work_begins();
        match job {
            Job::Parcel(parcel) => {
                for batch in parcel {
                    run_batch(&lane, batch).await;
                }
            }
            Job::Offer(Offer::Batch(batch)) => run_batch(&lane, batch).await,
            Job::Offer(Offer::Large(file)) if lane.helping.get() < HELPERS => {
                lane.helping.set(lane.helping.get() + 1);
                lane.help(&file).await;
                lane.helping.set(lane.helping.get() - 1);
            }
            Job::Offer(Offer::Large(_)) => {}
        }
        lane.work_ends();
        lane.judge.look(&lane.run, &lane.io);
        // All of it may have been done in place: now those have a turn whose operations are done.
        tokio::task::yield_now().await;
    }
}

/// What to do next; `None` once the run is finished or stopped. Offers go first: a large file ends last.
async fn next_job(lane: &Lane) -> Option<Job> {
    let run = &lane.run;
    let offers = &lane.offers;
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
        Ok(offer) = offers.recv() => return Some(Job::Offer(offer)),
        parcel = run.parcels.recv() => if let Ok(parcel) = parcel {
            return Some(Job::Parcel(parcel));
        },
    }
    // The walk is over, and what the others still have may take long: nothing else comes to be sent with.
    lane.outbox.send(run).await;
    offers.recv().await.ok().map(Job::Offer)
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
    let mut pair = if wanted {
        let opened = lane.at_work(&directory, || Step::Open, &mut remains, directory.open(lane)).await;
        let Some(pair) = opened else { return };
        pair
    } else {
        None
    };
    if run_entries(lane, &directory, &mut pair, &mut remains).await.is_none() {
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
    drop(pair);
    directory.release(lane).await;
}

/// Mirrors the entries of a batch. `None`: one took so long that the thread has been replaced.
async fn run_entries(
    lane: &Lane,
    directory: &Arc<Directory>,
    pair: &mut Option<Arc<Pair>>,
    remains: &mut Remains,
) -> Option<()> {
    let begun = Instant::now();
    while let Some(entry) = remains.entries.pop() {
        if lane.run.stop.is_stopped() {
            break;
        }
        // Pinned here, a future as large as this is not moved into others, each of which would have room for it.
        let event = {
            let work = pin!(run_entry(lane, directory, pair.as_ref(), &entry));
            lane.at_work(directory, || Step::Entry(entry.clone()), remains, work).await?
        };
        let Some(event) = event else { continue };
        if delete::is_in_the_way(&event, directory, &lane.run) {
            directory.mark_doubtful();
            lane.run.deletions.add_in_the_way(InTheWay { directory: directory.clone(), entry });
            continue;
        }
        lane.run.heed(&event);
        delete::heed(&event, directory, &lane.run);
        remains.events.push(event.named(entry.name));
        let now = Instant::now();
        let taken = now.saturating_duration_since(begun);
        let shared = remains.entries.len() > 1 && taken > LONG_BATCH && lane.run.parcels.is_empty();
        let is_late = shared || taken > LONGEST_STAGE;
        if let Some(pair) = pair.as_mut().filter(|pair| pair.is_staged() && is_late) {
            // Only this task has files in it: none is half written now. Without its name the directory is lost, and so is what was left to do.
            match directory.unstage(pair, lane).await {
                Ok(placed) => *pair = placed,
                Err(error) => {
                    remains.events.push(EntryEvent::failed(Kind::Directory, error));
                    break;
                }
            }
        }
        lane.io.see_to_ring(now).await;
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
    let item = Item { lane, directory, pair, entry, replaces: false, old: None };
    if lane.run.config.check { Box::pin(check::check(item)).await } else { Some(item.mirror().await) }
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
