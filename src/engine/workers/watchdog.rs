//! `--timeout`: threads whose system calls don't come back are left behind.
//!
//! A call that the kernel never answers can't be taken back; the thread that made it is stuck. So each thread of the
//! plain engine does one thing at a time and leaves word of what that is, when it began, and what it has left to do.
//! The watchdog, which runs with the progress task, looks at these words. A thread that has made no progress for too
//! long is lost: its entry is reported, what it had left goes to a new thread, and should its call ever return, it
//! finds itself dismissed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::engine::Run;
use crate::engine::state::batch::Batch;
use crate::engine::state::watched::{Assignment, Remains, Step, Watched};
use crate::engine::workers::threads::start_lane;
use crate::error::{Cause, Error, Operation, Result};
use crate::event::{Action, Entries, EntryEvent, Event, Kind};
use crate::walk::Entry;

/// How often the watchdog looks within the limit. From one look to the next it waits for `SHORTEST_LOOK` at least, and
/// for `LONGEST_LOOK` at most.
const LOOKS: u32 = 8;
const SHORTEST_LOOK: Duration = Duration::from_millis(10);
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// Looks after the threads of a run.
pub(crate) struct Watchdog {
    run: Arc<Run>,
    threads: Vec<Arc<Watched>>,
    limit: Duration,
    looked: Instant,
    /// Before this nobody could make progress: the reporter kept all waiting, or the machine slept.
    start: Instant,
}

impl Watchdog {
    pub(crate) fn new(run: &Arc<Run>, threads: Vec<Arc<Watched>>, limit: Duration) -> Self {
        let now = Instant::now();
        Watchdog { run: run.clone(), threads, limit, looked: now, start: now }
    }

    /// How often it should look.
    pub(crate) fn interval(&self) -> Duration {
        (self.limit / LOOKS).clamp(SHORTEST_LOOK, LONGEST_LOOK)
    }

    /// Whether any thread was left behind.
    pub(crate) fn any_lost(&self) -> bool {
        self.run.has_left_behind()
    }

    /// Replaces threads that are stuck, and returns what is to be reported of them.
    pub(crate) fn look(&mut self) -> Vec<Event> {
        let now = Instant::now();
        if now - self.looked > 2 * self.interval() || self.run.reporter_is_behind() {
            self.start = now;
        }
        self.looked = now;
        let mut events = Vec::new();
        for index in 0..self.threads.len() {
            if let Some(work) = self.threads[index].take_if_stuck(self.start, self.limit) {
                self.run.leave_behind();
                let (rest, told) = self.give_up(work);
                events.extend(told);
                if let Err(error) = self.replace(index, rest) {
                    self.run.abandon();
                    events.push(Event::Failed(error));
                }
            }
        }
        events
    }

    fn replace(&mut self, index: usize, rest: Option<Batch>) -> Result<()> {
        let watched = Watched::new();
        self.threads[index] = watched.clone();
        start_lane(&self.run, index, watched, rest).map(drop)
    }

    /// What is left to do of a lost thread's work, and what is to be reported.
    fn give_up(&self, work: Assignment) -> (Option<Batch>, Vec<Event>) {
        let Assignment { directory, step, operation, remains: Remains { entries, mut events }, awaited } =
            work;
        awaited.iter().for_each(|given_up| given_up.store(true, Ordering::Release));
        if self.run.config.delete.is_some() {
            self.run.deletions.protect(directory.path());
        }
        let error = |path| Error::new(operation, path, Cause::TimedOut(self.limit));
        let of_directory = || {
            let path = match operation.reads_source() {
                true => self.run.source_path_of(&directory),
                false => self.run.destination_path(&directory.path()),
            };
            EntryEvent::failed(Kind::Directory, error(path))
        };
        let mut told = Vec::new();
        let rest = match step {
            Step::Entry(entry) => {
                directory.mark_traces();
                let name = if operation.reads_source() { &entry.name } else { entry.target() };
                let error = error(self.path(operation, &directory.path_of(name)));
                events.push(EntryEvent::failed(entry.kind, error).named(entry.name));
                Some(Batch { directory: directory.clone(), entries })
            }
            Step::Open => {
                directory.give_up();
                let skipped = |entry: Entry| EntryEvent::done(entry.kind, Action::Skipped).named(entry.name);
                events.extend(entries.into_iter().map(skipped));
                told.push(of_directory());
                Some(Batch { directory: directory.clone(), entries: Vec::new() })
            }
            Step::Names => {
                told.push(of_directory());
                Some(Batch { directory: directory.clone(), entries: Vec::new() })
            }
            Step::Finish => {
                directory.give_up();
                told.push(of_directory());
                // The stuck thread had ended its part in the directory, and would have continued with the one above.
                directory.parent().map(|parent| Batch { directory: parent.clone(), entries: Vec::new() })
            }
            Step::Flush => {
                told.push(of_directory());
                None
            }
        };
        if rest.is_none() {
            self.run.close();
        }
        events.extend(told);
        let entries = Entries { directory: directory.path(), events };
        (rest, vec![Event::Entries(vec![entries])])
    }

    fn path(&self, operation: Operation, below: &std::path::Path) -> std::path::PathBuf {
        if operation.reads_source() { self.run.source_path(below) } else { self.run.destination_path(below) }
    }
}
