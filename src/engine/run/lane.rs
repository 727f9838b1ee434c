//! What the tasks of one thread share.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use async_channel::Receiver;
use tokio::sync::Notify;

use crate::engine::Run;
use crate::engine::primitives::channel::Channel;
use crate::engine::primitives::heartbeat::Heartbeat;
use crate::engine::primitives::reserve::Judge;
use crate::engine::run::offer::{Offer, TeamWork};
use crate::engine::run::outbox::Outbox;
use crate::engine::state::directory::Directory;
use crate::engine::state::watched::{Remains, Step, Watched};
use crate::error::{Operation, Result};
use crate::event::Event;
use crate::event::metrics::Stage;
use crate::io::Io;
use crate::io::buffer::{LARGE, Pool};
use crate::io::metrics::Gauge;

/// What the tasks of one thread share.
pub(crate) struct Lane {
    pub(crate) io: Io,
    pub(crate) buffers: Rc<Pool>,
    pub(crate) run: Arc<Run>,
    pub(crate) outbox: Outbox,
    pub(crate) index: usize,
    /// Who is told what this thread does: `--timeout`.
    pub(crate) watched: Option<Arc<Watched>>,
    /// Who takes the figures: `--stats`, `--trace`.
    pub(crate) gauge: Option<Rc<Gauge>>,
    /// Tasks of this thread, and how many of them have work.
    pub(crate) tasks: Cell<usize>,
    pub(crate) busy: Cell<usize>,
    /// One more task would have something to do.
    pub(crate) short_of_tasks: Notify,
    /// What others offer this thread.
    pub(crate) offers: Receiver<Offer>,
    pub(crate) judge: Judge,
    /// Tasks of this thread that help others.
    pub(crate) helping: Cell<usize>,
}

/// Who takes a ring's figures, where some are wanted.
fn gauge(run: &Arc<Run>, index: usize) -> Option<Rc<Gauge>> {
    let traced = run.config.trace.is_some();
    let parcels = run.parcels.clone();
    let wanted = run.config.stats || traced;
    // The walk's end of the channel goes with the walk.
    wanted.then(|| Rc::new(Gauge::new(index, run.begun, traced, move || parcels.is_closed())))
}

impl Lane {
    pub(crate) fn new(io: Io, run: Arc<Run>, index: usize, watched: Option<Arc<Watched>>) -> Self {
        let gauge = gauge(&run, index);
        // Longer reads may take longer, and a time-out is about each.
        let watched_piece = run.config.timeout.map(|_| LARGE);
        let buffers = Pool::of(run.config.buffer.or(watched_piece), gauge.clone());
        let outbox = Outbox::default();
        let io = io.gauged(gauge.clone());
        let (tasks, busy, helping) = (Cell::new(0), Cell::new(0), Cell::new(0));
        // Nobody offers a ring from the reserve anything.
        let offers =
            run.offers.get(index).map_or_else(|| Channel::bounded(1).receiver, |own| own.receiver.clone());
        let judge = Judge::new();
        let short_of_tasks = Notify::new();
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

    /// A task's turn is over, and it is not done.
    pub(crate) fn task_waits(&self) {
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

    /// Does what takes little room. Where there is none, a large file may have it for a while: then it is tried again once
    /// that has ended.
    pub(crate) async fn with_room<T>(&self, work: impl AsyncFn() -> Result<T>) -> Result<T> {
        let room = &self.run.room;
        let mut before = room.takers().1;
        for _ in 0..3 {
            let error = match work().await {
                Err(error) if error.lacks_room() => error,
                done => return done,
            };
            let (at_work, ended) = room.takers();
            match (at_work, ended) {
                (0, 0) => return Err(error), // the disk is full
                (0, _) => self.settle_room().await,
                _ if ended == before => drop(self.patiently(room.wait(ended)).await),
                _ => {}
            }
            before = room.takers().1;
        }
        work().await
    }

    /// Waits until room that was given back can be had: some file systems count it until it is on the disk.
    pub(crate) async fn settle_room(&self) {
        let Some(destination) = self.run.roots.destination.fd.clone() else { return };
        let settled = tokio::task::spawn_blocking(move || rustix::fs::syncfs(&destination));
        self.patiently(settled).await; // where it can't be flushed, the next try tells
    }

    /// Leaves word that the next system call is part of this operation.
    pub(crate) fn doing(&self, operation: Operation) {
        self.doing_as(operation, stage(operation));
    }

    /// The same, of one that is part of another stage than usual.
    pub(crate) fn doing_as(&self, operation: Operation, stage: Stage) {
        self.heartbeat().step(operation);
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
    pub(crate) fn others(&self) -> impl Iterator<Item = &Channel<Offer>> {
        self.run
            .offers
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != self.index)
            .map(|(_, channel)| channel)
    }

    /// Where this thread says what it does.
    pub(crate) fn heartbeat(&self) -> &Heartbeat {
        &self.run.heartbeats[self.index]
    }

    /// Sends what there is of the trace, if it is all that is wanted, or much.
    pub(crate) async fn send_trace(&self, all: bool) {
        if let Some(text) = self.gauge.as_ref().and_then(|gauge| gauge.take_trace(all)) {
            self.run.report(Event::Trace(text)).await;
        }
    }

    /// Sends the figures of this thread, where they are wanted, and what is left of the trace.
    pub(crate) async fn send_metrics(&self) {
        self.send_trace(true).await;
        if let Some(gauge) = self.gauge.as_ref().filter(|_| self.run.config.stats) {
            self.run.report(Event::Ring(Box::new(gauge.ring()))).await;
        }
    }

    /// Takes segments of the file that another task has.
    pub(crate) async fn help(&self, shared: &dyn TeamWork) {
        let span = self.gauge.as_ref().and_then(|gauge| gauge.span_begins());
        shared.help(self).await;
        if let Some(gauge) = &self.gauge {
            gauge.span_ends(span, || shared.path().map(Path::to_path_buf).unwrap_or_default(), "help");
        }
    }

    /// The task whose turn it is has work.
    pub(crate) fn work_begins(&self) {
        self.busy.set(self.busy.get() + 1);
        if let Some(gauge) = &self.gauge {
            gauge.work_begins();
        }
    }

    /// It has none any more.
    pub(crate) fn work_ends(&self) {
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
