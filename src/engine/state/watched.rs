//! `--timeout`: what a thread says of itself, so that the watchdog can tell whether it is stuck.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::state::directory::Directory;
use crate::error::Operation;
use crate::event::EntryEvent;
use crate::walk::Entry;

/// A thread that waits for what another one has says so this often.
const WAIT: Duration = Duration::from_millis(50);

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
    pub(crate) fn name(&self) -> &'static str {
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
    work: Mutex<Option<Assignment>>,
    lost: AtomicBool,
}

pub(crate) struct Assignment {
    pub(crate) directory: Arc<Directory>,
    pub(crate) step: Step,
    pub(crate) operation: Operation,
    pub(crate) remains: Remains,
    /// Raised if the thread is lost: others wait for what it does.
    pub(crate) awaited: Vec<Arc<AtomicBool>>,
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
            *word = Some(Assignment { directory, step, operation, remains: left, awaited: Vec::new() });
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
    pub(crate) fn mark_awaited(&self, given_up: &Arc<AtomicBool>) {
        if let Some(work) = self.work().as_mut() {
            work.awaited.push(given_up.clone());
        }
    }

    /// Nobody waits any more for what was last said to be awaited.
    pub(crate) fn unmark_awaited(&self) {
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

    fn work(&self) -> MutexGuard<'_, Option<Assignment>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the thread's work away if there was no progress since `start`, or for `limit` if that is shorter.
    pub(crate) fn take_if_stuck(&self, start: Instant, limit: Duration) -> Option<Assignment> {
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
