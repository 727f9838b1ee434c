//! `--timeout`: threads whose system calls don't come back are left behind.
//!
//! A call that the kernel never answers can't be taken back; the thread that made it is stuck. So each thread of the
//! plain engine does one thing at a time and leaves word of what that is, when it began, and what it has left to do.
//! The watchdog, which runs with the progress task, looks at these words. A thread that has made no progress for too
//! long is lost: its entry is reported, what it had left goes to a new thread, and should its call ever return, it
//! finds itself dismissed.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::Run;
use crate::engine::directory::Directory;
use crate::engine::job::{Batch, Entry};
use crate::engine::threads::start_lane;
use crate::error::{Cause, Error, Operation, Result};
use crate::event::{Action, Entries, EntryEvent, Event, Kind};

/// A thread that waits for what another one has says so this often.
const WAIT: Duration = Duration::from_millis(50);
/// How often the watchdog looks within the limit. From one look to the next it waits for `SHORTEST_LOOK` at least, and
/// for `LONGEST_LOOK` at most.
const LOOKS: u32 = 8;
const SHORTEST_LOOK: Duration = Duration::from_millis(10);
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// What a thread has left of a batch, and what it has to report.
#[derive(Default)]
pub(crate) struct Remains {
    pub(crate) entries: Vec<Entry>,
    pub(crate) events: Vec<EntryEvent>,
}

/// What a thread is at in a directory.
pub(crate) enum Step {
    /// Opening it.
    Open,
    /// Mirroring an entry.
    Entry(Entry),
    /// Putting the names in it on stable storage.
    Names,
    /// Giving it its metadata.
    Finish,
    /// It is the root, and all is being flushed.
    Flush,
}

impl Step {
    /// The word used in a trace.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Step::Open => "open",
            Step::Entry(_) => "entry",
            Step::Names => "names",
            Step::Finish => "finish",
            Step::Flush => "flush",
        }
    }
}

/// A thread's word on what it does.
pub(crate) struct Watched {
    begun: Instant,
    /// Milliseconds after `begun` of the last progress.
    since: AtomicU64,
    work: Mutex<Option<Work>>,
    lost: AtomicBool,
}

struct Work {
    directory: Arc<Directory>,
    step: Step,
    operation: Operation,
    remains: Remains,
    /// Raised if the thread is lost: others wait for what it does.
    awaited: Vec<Arc<AtomicBool>>,
}

impl Watched {
    pub(crate) fn new() -> Arc<Self> {
        let (since, work, lost) = (AtomicU64::new(0), Mutex::new(None), AtomicBool::new(false));
        Arc::new(Watched { begun: Instant::now(), since, work, lost })
    }

    /// Does `work`, and leaves word of it meanwhile. `None`: it took so long that the thread has been replaced.
    pub(crate) async fn at_work<T>(
        &self,
        directory: &Arc<Directory>,
        step: Step,
        remains: &mut Remains,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let operation = match step {
            Step::Open | Step::Entry(_) => Operation::OpenSource,
            Step::Finish => Operation::SetTimes,
            Step::Names | Step::Flush => Operation::Flush,
        };
        let (directory, left) = (directory.clone(), std::mem::take(remains));
        {
            let mut word = self.work();
            self.progress();
            *word = Some(Work { directory, step, operation, remains: left, awaited: Vec::new() });
        }
        let result = work.await;
        *remains = self.work().take()?.remains;
        Some(result)
    }

    /// The next system call is part of this operation.
    pub(crate) fn doing(&self, operation: Operation) {
        self.progress();
        if let Some(work) = self.work().as_mut() {
            work.operation = operation;
        }
    }

    /// Others wait for what this thread does: `given_up` will tell them if it is lost.
    pub(crate) fn is_awaited(&self, given_up: &Arc<AtomicBool>) {
        if let Some(work) = self.work().as_mut() {
            work.awaited.push(given_up.clone());
        }
    }

    /// Nobody waits any more for what was last said to be awaited.
    pub(crate) fn is_awaited_no_more(&self) {
        if let Some(work) = self.work().as_mut() {
            work.awaited.pop();
        }
    }

    /// Whether the thread has been replaced.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    fn progress(&self) {
        self.since.store(self.begun.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn work(&self) -> MutexGuard<'_, Option<Work>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the thread's work away if there was no progress since `start`, or for `limit` if that is shorter.
    fn take_if_stuck(&self, start: Instant, limit: Duration) -> Option<Work> {
        // All under the lock: the thread that finds its work gone must know at once that it is lost.
        let mut word = self.work();
        let last = self.begun + Duration::from_millis(self.since.load(Ordering::Relaxed));
        if last.max(start).elapsed() < limit {
            return None;
        }
        let work = word.take()?;
        self.lost.store(true, Ordering::Release);
        Some(work)
    }
}

/// Waits for what another thread holds, which may take it any time. `None`: that thread is lost.
pub(crate) async fn patiently<F: Future>(
    acquire: impl Fn() -> F,
    given_up: &AtomicBool,
    watched: Option<&Watched>,
) -> Option<F::Output> {
    let Some(watched) = watched else { return Some(acquire().await) };
    while !given_up.load(Ordering::Acquire) {
        if let Ok(held) = tokio::time::timeout(WAIT, acquire()).await {
            return Some(held);
        }
        watched.progress();
    }
    None
}

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
    fn give_up(&self, work: Work) -> (Option<Batch>, Vec<Event>) {
        let Work { directory, step, operation, remains: Remains { entries, mut events }, awaited } = work;
        awaited.iter().for_each(|given_up| given_up.store(true, Ordering::Release));
        if self.run.config.delete.is_some() {
            self.run.deletions.protect(directory.path());
        }
        let error = |path| Error::new(operation, path, Cause::TimedOut(self.limit));
        let of_directory = || {
            let path = match operation.reads_source() {
                true => directory.source_path(&self.run),
                false => self.run.destination_path(&directory.path()),
            };
            EntryEvent::failed(Kind::Directory, error(path))
        };
        let mut told = Vec::new();
        let rest = match step {
            Step::Entry(entry) => {
                directory.leaves_traces();
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
                // The stuck thread had ended its part in the directory, and would have gone on with the one above.
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
