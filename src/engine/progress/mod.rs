//! The progress task: gathers the events as they arrive, counts, and hands them to the reporter.

pub(crate) mod manifest;

use std::time::{Duration, Instant};

use async_channel::Receiver;
use tokio::runtime::Runtime;
use tokio::time::MissedTickBehavior;

use crate::engine::progress::manifest::Hashes;
use crate::engine::workers::stall::{self, Stalls};
use crate::engine::workers::watchdog::Watchdog;
use crate::error::{Cause, Error, Operation, Outcome, Result};
use crate::event::metrics::Ring;
use crate::event::{
    Action, Entries, Event, FirstErrors, Kind, Live, Mode, Reporter, Shared, Start, Summary, Totals,
};
use crate::files::trace::TraceFile;
use crate::stop::Stop;

/// After a stop, what is in flight has this long to end. With the rest it stays below two seconds.
const GRACE: Duration = Duration::from_millis(1500);

/// The longest time between two calls that tell the reporter how far the run is, also while nothing is copied.
const BEAT: Duration = Duration::from_millis(200);

/// How often a run looks for threads that are stuck when it has no limit for them.
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

/// The task's runtime, and what it keeps.
pub(crate) struct Progress<'a> {
    runtime: Runtime,
    tally: Tally<'a>,
}

/// Counts, and the reporter that is told.
struct Tally<'a> {
    reporter: &'a mut dyn Reporter,
    stop: &'a Stop,
    begun: Instant,
    totals: Totals,
    outcome: Outcome,
    errors: FirstErrors,
    /// What differs is what the run is to tell.
    check: bool,
    /// Directories that are created are counted apart.
    apart: bool,
    manifest: Option<Hashes>,
    trace: Option<TraceFile>,
    rings: Vec<Ring>,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(
        reporter: &'a mut dyn Reporter,
        stop: &'a Stop,
        manifest: Option<Hashes>,
        trace: Option<TraceFile>,
    ) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(|error| Error::new(Operation::StartEngine, "", error))?;
        let tally = Tally {
            reporter,
            stop,
            begun: Instant::now(),
            totals: Totals::default(),
            outcome: Outcome::default(),
            errors: FirstErrors::default(),
            check: false,
            apart: false,
            manifest,
            trace,
            rings: Vec::new(),
        };
        Ok(Progress { runtime, tally })
    }

    /// Has directories that are created counted apart: the run links to earlier trees.
    pub(crate) fn count_directories_apart(&mut self) {
        self.tally.apart = true;
    }

    /// Reports a run that ends, by this error, before anything is written.
    pub(crate) fn refuse(self, start: &Start, error: Error) -> Summary {
        let mut tally = self.tally;
        tally.manifest = None; // what it would list is not there
        tally.reporter.start(start);
        tally.note(Err(error));
        tally.finish(false)
    }

    /// Gathers until every thread of the pipeline has let go of the channel. `abandon` is called when the caller's flag
    /// is raised: it makes the pipeline raise its own, `stopped`.
    pub(crate) fn gather(
        mut self,
        start: &Start,
        events: Receiver<Event>,
        stopped: &Stop,
        abandon: impl Fn(),
        (mut watchdog, mut stalls): (Option<Watchdog>, Option<Stalls>),
    ) -> Summary {
        self.tally.check = start.mode == Mode::Check;
        self.tally.totals.shared = start.reuse.map(Shared::new);
        self.tally.reporter.start(start);
        let watch = (watchdog.as_mut(), stalls.as_mut());
        let gathered = self.tally.receive_all(&events, stopped, abandon, watch);
        let stuck = self.runtime.block_on(gathered);
        self.tally.finish(stuck || watchdog.is_some_and(|watchdog| watchdog.any_lost()))
    }
}

impl Tally<'_> {
    fn finish(mut self, stuck: bool) -> Summary {
        if self.stop.is_stopped() {
            self.outcome = self.outcome.max(Outcome::Interrupted);
        }
        let manifest = self.manifest.take().map_or(Ok(()), |manifest| manifest.finish(self.outcome));
        self.note(manifest);
        let trace = self.trace.take().map_or(Ok(()), TraceFile::finish);
        self.note(trace);
        self.totals.elapsed = self.begun.elapsed();
        self.rings.sort_by_key(|ring| ring.index);
        let errors = self.errors.into_inner();
        let summary =
            Summary { outcome: self.outcome, totals: self.totals, stuck, errors, rings: self.rings };
        self.reporter.finish(&summary);
        summary
    }

    /// Returns whether something did not come back after a stop.
    async fn receive_all(
        &mut self,
        events: &Receiver<Event>,
        stopped: &Stop,
        abandon: impl Fn(),
        (mut watchdog, mut stalls): (Option<&mut Watchdog>, Option<&mut Stalls>),
    ) -> bool {
        let every = |time| {
            let mut interval = tokio::time::interval(time);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        };
        let mut looks = every(watchdog.as_ref().map_or(NEVER, |watchdog| watchdog.interval()));
        let mut glances = every(if stalls.is_some() { stall::LOOK } else { NEVER });
        let mut beats = every(BEAT);
        let stop = self.stop;
        let out_of_time = async {
            tokio::select! {
                () = stop.stopped() => abandon(),
                () = stopped.stopped() => {}
            }
            tokio::time::sleep(GRACE).await;
        };
        tokio::pin!(out_of_time);
        loop {
            tokio::select! {
                biased;
                _ = looks.tick() => {
                    let told = watchdog.as_mut().map_or_else(Vec::new, |watchdog| watchdog.look());
                    told.into_iter().for_each(|event| self.take(event));
                }
                _ = glances.tick() => {
                    let stalled = stalls.as_mut().map_or_else(Vec::new, |stalls| stalls.look());
                    stalled.iter().for_each(|stall| self.reporter.stall(stall));
                }
                _ = beats.tick() => self.tell_progress(),
                event = events.recv() => match event {
                    Ok(event) => self.take(event),
                    Err(_) => return false,
                },
                () = &mut out_of_time => return true,
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Found { entries, directories, complete } => {
                self.totals.found += entries;
                self.totals.directories.0 += directories;
                self.totals.complete = complete;
            }
            Event::Deleted(count) => self.totals.add_all(Action::Deleted, count),
            Event::Expected(bytes) => {
                self.totals.bytes_expected += bytes;
                self.totals.at_work.begin(bytes);
            }
            Event::Bytes(bytes) => {
                self.totals.bytes += bytes;
                self.totals.at_work.copy(bytes);
            }
            Event::Ended { expected, copied } => self.totals.end_large(expected, copied),
            Event::Durable => self.totals.durable = true,
            Event::Notice(notice) => self.reporter.notice(&notice),
            Event::Failed(error) => self.note(Err(error)),
            Event::Ring(ring) => self.rings.push(*ring),
            Event::Trace(text) => self.write_trace(&text),
            Event::Entries(groups) => groups.into_iter().for_each(|entries| self.take_entries(entries)),
        }
        self.tell_progress();
    }

    fn tell_progress(&mut self) {
        self.totals.elapsed = self.begun.elapsed();
        self.reporter.progress(&self.totals);
    }

    fn take_entries(&mut self, mut entries: Entries) {
        for event in &mut entries.events {
            // What a stop broke off is neither done nor an error of its own.
            if event.error.as_ref().is_some_and(|error| matches!(error.cause, Cause::Interrupted)) {
                continue;
            }
            if !self.check && event.error.as_ref().is_some_and(|error| error.tells_vanished()) {
                event.action = Action::Vanished;
            }
            let totals = &mut self.totals;
            // What is only in the destination was not found by the walk.
            let is_found = event.action != Action::Deleted || event.is_left_out();
            totals.done += u64::from(is_found);
            totals.directories.1 += u64::from(is_found && event.kind == Kind::Directory);
            totals.add(event.action);
            if let Some(shared) = &mut totals.shared {
                shared.count(event);
            }
            let is_apart = self.apart && event.action == Action::Created && event.kind == Kind::Directory;
            totals.directories_apart += u64::from(is_apart);
            totals.link_limits += u64::from(event.link_limit);
            totals.links_refused += u64::from(event.link_refused);
            let live = event.live.filter(|_| !event.follows);
            totals.grew += u64::from(live == Some(Live::Grew));
            totals.changing += u64::from(live == Some(Live::Changing));
            if let Some(expected) = event.expected {
                totals.end_large(expected.get(), event.bytes);
            } else {
                totals.bytes += event.bytes;
                totals.bytes_expected += event.bytes;
            }
            if event.kind == Kind::File {
                totals.source_bytes += event.source.map_or(0, |source| source.size);
            }
            if event.hash.is_some() {
                totals.bytes_hashed += event.bytes;
            }
            for error in event.error.as_deref().into_iter().chain(event.lacks()) {
                self.count_error(error);
            }
            if event.action == Action::Vanished {
                self.outcome = self.outcome.max(Outcome::Vanished);
            }
            if self.check && event.action.is_change() {
                self.outcome = self.outcome.max(Outcome::Different);
            }
            self.reporter.entry(&entries.directory, event);
            let added = self.manifest.as_mut().map_or(Ok(()), |hashes| hashes.add(&entries.directory, event));
            let lacks = event.lacks.take().into_iter().flatten();
            event
                .error
                .take()
                .map(|error| *error)
                .into_iter()
                .chain(lacks)
                .for_each(|error| self.errors.keep(error));
            self.note(added);
        }
    }

    /// The first failure ends the trace, and is reported.
    fn write_trace(&mut self, text: &str) {
        let written = self.trace.as_mut().map_or(Ok(()), |trace| trace.add(text));
        if written.is_err() {
            self.trace = None;
        }
        self.note(written);
    }

    /// Reports an error that is no entry's.
    fn note(&mut self, result: Result<()>) {
        if let Err(error) = result {
            self.totals.add_all(Action::Vanished, u64::from(!self.check && error.tells_vanished()));
            self.count_error(&error);
            self.reporter.error(&error);
            self.errors.keep(error);
        }
    }

    /// Counts an error, which what vanished is none.
    fn count_error(&mut self, error: &Error) {
        self.totals.errors += u64::from(self.check || !error.tells_vanished());
        if let Cause::NoRoom { missing, .. } = error.cause {
            self.totals.bytes_missing += missing;
        }
        let outcome = match error.outcome() {
            // A comparison has no special word for what it could not compare.
            Outcome::Vanished if self.check => Outcome::Failed,
            outcome => outcome,
        };
        self.outcome = self.outcome.max(outcome);
    }
}
