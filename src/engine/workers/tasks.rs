//! The copy tasks: a few on each thread, more while they wait, up to a fixed number. Each takes a batch, compares its
//! entries with the destination one after the other, and does what the comparison says.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::engine::entry::item::Item;
use crate::engine::finish::flush;
use crate::engine::run::heed::{heed, is_in_the_way};
use crate::engine::run::lane::Lane;
use crate::engine::run::offer::Offer;
use crate::engine::state::batch::{Batch, Parcel};
use crate::engine::state::deletions::InTheWay;
use crate::engine::state::directory::Directory;
use crate::engine::state::pair::Pair;
use crate::engine::state::watched::{Remains, Step, Watched};
use crate::engine::workers::turns::Turns;
use crate::engine::{Run, check};
use crate::error::{Result, panicked};
use crate::event::{Entries, EntryEvent, Kind};
use crate::io::Io;
use crate::walk::Entry;

/// Tasks that a thread begins with. There are more once these wait: what the caches answer takes one after the other,
/// so that the next file finds the processor's cache and the directory as the last one left them, and the walk's
/// channel stays full, by which batches are as large as they may be and rings in reserve find work. 64 from the
/// beginning took 1.11 of the time for new copies of small files in memory (docs/performance.md).
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
    (0..FEWEST_TASKS.min(most)).for_each(|_| add_task(&lane, &mut set));
    let mut result = Ok(());
    loop {
        let ended = tokio::select! {
            biased;
            ended = set.join_next() => ended,
            () = lane.short_of_tasks.notified(), if lane.tasks.get() < most => {
                add_task(&lane, &mut set);
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
        lane.send_metrics().await;
    }
    result
}

fn add_task(lane: &Rc<Lane>, set: &mut JoinSet<()>) {
    let number = lane.tasks.get();
    lane.tasks.set(number + 1);
    set.spawn_local(Turns::new(lane.clone(), number, task(lane.clone())));
}

/// What a thread is given that is watched: who watches it, and the work of a thread that it replaces.
#[derive(Default)]
pub(crate) struct Watch {
    pub(crate) watched: Option<Arc<Watched>>,
    pub(crate) first: Option<Batch>,
}

enum Next {
    Parcel(Parcel),
    Offer(Offer),
}

async fn task(lane: Rc<Lane>) {
    while !lane.is_lost()
        && let Some(job) = next_job(&lane).await
    {
        lane.work_begins();
        match job {
            Next::Parcel(parcel) => {
                for batch in parcel {
                    run_batch(&lane, batch).await;
                }
            }
            Next::Offer(Offer::Batch(batch)) => run_batch(&lane, batch).await,
            Next::Offer(Offer::TeamWork(shared)) if lane.helping.get() < HELPERS => {
                lane.helping.set(lane.helping.get() + 1);
                lane.help(&*shared).await;
                lane.helping.set(lane.helping.get() - 1);
            }
            Next::Offer(Offer::TeamWork(_)) => {}
        }
        lane.work_ends();
        if !lane.run.parcels.is_empty() {
            lane.judge.look(&lane.run.reserve, &lane.io);
        }
        // All of it may have been done in place: now those have a turn whose operations are done.
        tokio::task::yield_now().await;
    }
}

/// What to do next; `None` once the run is finished or stopped. Offers go first: a large file ends last.
async fn next_job(lane: &Lane) -> Option<Next> {
    let run = &lane.run;
    let offers = &lane.offers;
    if run.stop.is_stopped() {
        // What was taken from a batch has to be given back, so that its directory comes to an end.
        return offers.try_recv().ok().map(Next::Offer);
    }
    if let Ok(offer) = offers.try_recv() {
        return Some(Next::Offer(offer));
    }
    if let Ok(parcel) = run.parcels.try_recv() {
        return Some(Next::Parcel(parcel));
    }
    if lane.busy.get() == 0 {
        lane.outbox.send(run).await;
    }
    tokio::select! {
        biased;
        Ok(offer) = offers.recv() => return Some(Next::Offer(offer)),
        parcel = run.parcels.recv() => if let Ok(parcel) = parcel {
            return Some(Next::Parcel(parcel));
        },
    }
    // The walk is over, and what the others still have may take long: nothing else comes to be sent with.
    lane.outbox.send(run).await;
    offers.recv().await.ok().map(Next::Offer)
}

/// A batch that takes longer is shared with tasks that have nothing to do.
const LONG_BATCH: Duration = Duration::from_millis(2);

/// A provisional directory that takes longer gets its name, so that a kill does not cost what is done of it.
const LONGEST_PROVISIONAL: Duration = Duration::from_millis(100);

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
    let flushes = lane.run.config.fsync && remains.events.iter().any(flush::is_new);
    if let Some(pair) = pair.as_ref().filter(|_| flushes) {
        let flushed = flush::flush_names(&directory, pair, lane);
        let Some(durable) = lane.at_work(&directory, || Step::Names, &mut remains, flushed).await else {
            return;
        };
        let new = remains.events.iter_mut().filter(|event| flush::is_new(event));
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
        let Some(mut event) = event else { continue };
        if is_in_the_way(&event, directory, &lane.run) {
            directory.mark_doubtful();
            lane.run.deletions.add_in_the_way(InTheWay { directory: directory.clone(), entry });
            continue;
        }
        lane.run.heed(&mut event);
        heed(&event, directory, &lane.run);
        remains.events.push(event.named(entry.name));
        let now = Instant::now();
        let taken = now.saturating_duration_since(begun);
        let is_shared = remains.entries.len() > 1 && taken > LONG_BATCH && lane.run.parcels.is_empty();
        let is_late = is_shared || taken > LONGEST_PROVISIONAL;
        if let Some(pair) = pair.as_mut().filter(|pair| pair.is_provisional() && is_late) {
            // Only this task has files in it: none is half written now. Without its name the directory is lost, and so
            // is what was left to do.
            match directory.give_name_to_directory(pair, lane).await {
                Ok(placed) => *pair = placed,
                Err(error) => {
                    let mut failed = EntryEvent::failed(Kind::Directory, error);
                    lane.run.heed(&mut failed);
                    remains.events.push(failed);
                    break;
                }
            }
        }
        lane.io.see_to_ring(now).await;
        if is_shared {
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
    let Some(pair) = pair else { return Some(EntryEvent::done(entry.kind, directory.action_without())) };
    let item = Item { lane, directory, pair, entry, replaces: false, old: None, led: None };
    if lane.run.config.checks() { Box::pin(check::check(item)).await } else { Some(item.mirror().await) }
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
                Offer::TeamWork(_) => rest,
            }
        }
    }
}
